// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors in the bytes of OSTree's formats.

/// Why some bytes are not what they should be. It does not name the object: the caller, who knows
/// it, does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no GVariant of the expected type in normal form.
    #[error("not a valid GVariant in normal form: {0}")]
    GVariant(oxtree_gvariant::Error),
    /// A checksum has to have 32 bytes.
    #[error("a checksum of {0} bytes instead of 32")]
    ChecksumLength(usize),
    /// A checksum is written with 64 lower-case hexadecimal digits.
    #[error("Invalid checksum '{0}': expected 64 hexadecimal digits")]
    ChecksumText(String),
    /// Not of the form `CHECKSUM.KIND`.
    #[error("invalid object name '{0}'")]
    ObjectName(String),
    /// A name in a dirtree that no directory can hold.
    #[error("{}", bad_name(.0))]
    FileName(String),
    /// The entries of a dirtree or an attribute list have to be sorted, without duplicates.
    #[error("{0:?} is out of order or there twice")]
    Unsorted(String),
    /// A name is a file as well as a directory of one dirtree.
    #[error("{0:?} is both a file and a directory")]
    FileAndDirectory(String),
    /// A mode that the object cannot have.
    #[error("invalid mode {0:#o}")]
    Mode(u32),
    /// A file header with a device number; OSTree stores no devices.
    #[error("invalid device number {0}")]
    DeviceNumber(u32),
    /// A symbolic link needs a target, nothing else may have one.
    #[error("a link target in a regular file, or none in a symbolic link")]
    LinkTarget,
    /// Extended attribute names are not empty and end with a NUL byte.
    #[error("invalid extended attribute name {0:?}")]
    XattrName(String),
    /// A header whose length field does not fit.
    #[error("invalid header of a file object: {0}")]
    Header(&'static str),
    /// A metadata key that may not be.
    #[error("invalid metadata key {0:?}")]
    MetadataKey(String),
    /// More bytes than any metadata object may have.
    #[error("{size} bytes of metadata are more than the {max} allowed")]
    TooLarge {
        /// The size in bytes.
        size: u64,
        /// The largest allowed size in bytes.
        max: u64,
    },
    /// An inode has more extended attributes than a composefs image takes, this one among them.
    #[error("extended attribute {0}: Numerical result out of range")]
    ImageAttribute(String),
    /// A file, a link's target, or all of them are more than a composefs image takes.
    #[error("{0:?} is too large for a composefs image")]
    ImageTooLarge(String),
    /// Neither `TO` nor `FROM-TO`.
    #[error("invalid name of a static delta '{0}'")]
    DeltaName(String),
    /// A static delta that makes no sense.
    #[error("invalid static delta: {0}")]
    Delta(&'static str),
    /// An entry of `ostree.sizes` that is not in order.
    #[error("invalid entry of ostree.sizes: {0}")]
    SizesEntry(&'static str),
    /// A tombstone that does not say which commit it stands for.
    #[error("invalid tombstone: {0}")]
    Tombstone(&'static str),
    /// A key file that cannot be read.
    #[error(transparent)]
    KeyFile(#[from] crate::keyfile::Error),
    /// Not the name of a ref, remote or collection.
    #[error(transparent)]
    Ref(#[from] crate::refs::Error),
}

impl From<oxtree_gvariant::Error> for Error {
    fn from(error: oxtree_gvariant::Error) -> Self {
        Self::GVariant(error)
    }
}

/// The reason why a file name is invalid, in libostree's words.
fn bad_name(name: &str) -> String {
    match name {
        "" => "Invalid empty filename".to_owned(),
        "." => "Invalid self-referential filename '.'".to_owned(),
        ".." => "Invalid path uplink filename '..'".to_owned(),
        name if name.contains('/') => format!("Invalid / in filename {name}"),
        name => format!("Invalid filename {name:?}"),
    }
}
