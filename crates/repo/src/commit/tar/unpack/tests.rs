// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that packs, whole and damaged.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    unpack(packed)?.take(1 << 22).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn packed_by(program: &str, args: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(out.status.success());
    out.stdout
}

fn content() -> Vec<u8> {
    (0..60_000_u32)
        .flat_map(|n| (n.wrapping_mul(n) / 7).to_le_bytes())
        .collect()
}

/// All with a checksum.
const PACKERS: [(&str, &[&str]); 6] = [
    ("gzip", &["-c"]),
    ("bzip2", &["-c", "-2"]),
    ("xz", &["-c", "-0"]),
    ("xz", &["-c", "-0", "--check=crc32"]),
    ("xz", &["-c", "--check=sha256", "--block-size=100000", "-1"]),
    ("zstd", &["-c", "-q", "--check"]),
];

const LZMA: (&str, &[&str]) = ("xz", &["-c", "--format=lzma", "-1"]);

#[test]
fn every_way_of_packing_several_in_a_row_and_cut() {
    let content = content();
    assert_eq!(unpacked(&content).unwrap(), content);
    assert_eq!(unpacked(b"").unwrap(), b"");
    for (program, args) in PACKERS.into_iter().chain([LZMA]) {
        let packed = packed_by(program, args, &content);
        assert_eq!(unpacked(&packed).unwrap(), content, "{program} {args:?}");
        for len in [20, packed.len() / 2, packed.len() - 9, packed.len() - 1] {
            let error = unpacked(&packed[..len]).unwrap_err().to_string();
            assert!(
                error.ends_with("ends too early: the file is truncated"),
                "{program}: {len}: {error}"
            );
        }
        if program != LZMA.0 || args != LZMA.1 {
            let twice = [&packed[..], &packed].concat();
            assert_eq!(unpacked(&twice).unwrap(), content.repeat(2), "{program}");
        }
    }
    let skippable = [&b"\x5a\x2a\x4d\x18\x03\0\0\0abc"[..]; 2].concat();
    let packed = packed_by("zstd", &["-c", "-q"], b"x");
    let framed = [&skippable[..], &packed, &skippable, &packed].concat();
    assert_eq!(unpacked(&framed).unwrap(), b"xx");
    assert!(unpacked(&framed[..6]).is_err());
}

#[test]
fn damage_is_seen() {
    let content = content();
    for (program, args) in PACKERS.into_iter().chain([LZMA]) {
        let packed = packed_by(program, args, &content);
        for at in [packed.len() / 3, packed.len() / 2, packed.len() - 30] {
            let mut packed = packed.clone();
            packed[at] ^= 0x10;
            let error = unpacked(&packed).unwrap_err().to_string();
            let said = ["is damaged", "may be damaged", "is truncated"];
            assert!(
                said.iter().any(|end| error.ends_with(end)),
                "{program} {args:?}: {error}"
            );
        }
    }
    // The checksum and the size at the end of gzip's members, and the first bytes of another.
    let packed = packed_by("gzip", &["-c"], &content);
    for back in 1..=8 {
        let mut packed = packed.clone();
        let at = packed.len() - back;
        packed[at] ^= 1;
        assert!(unpacked(&packed).is_err(), "{back}");
        let mut twice = packed_by("gzip", &["-c"], &content);
        let end = twice.len();
        twice.extend_from_within(..);
        twice[end] ^= 1;
        assert!(unpacked(&twice).is_err());
    }
    // zstd without a checksum still has the size of what was packed.
    let packed = packed_by(
        "zstd",
        &["-c", "-q", "--no-check", "--stream-size=240000"],
        &content,
    );
    assert_eq!(unpacked(&packed).unwrap(), content);
}

#[test]
fn what_follows_packed_data_is_padding_or_an_error() {
    for (program, args) in PACKERS.into_iter().chain([LZMA]) {
        let packed = packed_by(program, args, b"x");
        let padded = [&packed[..], &[0; 512]].concat();
        if program != "zstd" {
            assert_eq!(unpacked(&padded).unwrap(), b"x", "{program} {args:?}");
        }
        for more in [&b"garbage"[..], b"\0\0\0\0garbage", b"BZ", b"\x1f\x8b"] {
            assert!(
                unpacked(&[&packed[..], more].concat()).is_err(),
                "{program} {more:?}"
            );
        }
    }
}

#[test]
fn bytes_may_come_one_by_one() {
    struct Slow<'a>(&'a [u8]);
    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }
    for (program, args) in PACKERS.into_iter().chain([LZMA]) {
        let packed = packed_by(program, args, b"some text");
        let mut bytes = Vec::new();
        let stream = io::BufReader::with_capacity(1, Slow(&packed));
        unpack(stream).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"some text", "{program} {args:?}");
    }
}

#[test]
fn lzip_members() {
    let member = |bytes: &[u8]| {
        let mut out = Vec::new();
        let mut writer = lzma_rust2::LzipWriter::new(&mut out, lzma_rust2::LzipOptions::default());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap();
        out
    };
    let packed = member(&content());
    assert_eq!(unpacked(&packed).unwrap(), content());
    let twice = [member(b"a"), member(b"b")].concat();
    assert_eq!(unpacked(&twice).unwrap(), b"ab");
    for at in [6, packed.len() / 2, packed.len() - 20, packed.len() - 1] {
        let mut packed = packed.clone();
        packed[at] ^= 4;
        assert!(unpacked(&packed).is_err(), "{at}");
    }
    assert!(unpacked(&packed[..packed.len() - 1]).is_err());
    assert!(unpacked(&[&packed[..], b"garbage"].concat()).is_err());
}

#[test]
fn too_much_memory_is_not_given() {
    for args in [
        &["-c", "--lzma2=dict=512MiB"][..],
        &["-c", "--format=lzma", "--lzma1=dict=512MiB"],
    ] {
        let error = unpacked(&packed_by("xz", args, b"x"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a larger dictionary than 256 MiB"),
            "{error}"
        );
    }
    let packed = packed_by(
        "zstd",
        &["-c", "-q", "--ultra", "-22", "--long=30"],
        &content(),
    );
    // A stream that tells its size needs no more than that.
    assert!(unpacked(&packed).map_or(true, |bytes| bytes == content()));
    let large = b"LZIP\x01\x1d\0\0\0\0\0\0\0\0\0\0";
    assert!(unpacked(large).unwrap_err().to_string().contains("256 MiB"));
}

#[test]
fn others_are_named() {
    for (magic, what) in OTHERS {
        let error = unpacked(&[magic, &[0; 100]].concat())
            .unwrap_err()
            .to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn text_and_archives_are_no_lzma() {
    for start in [
        &b"]\0\0\x01\0name of a file"[..],
        b"070701000000000000",
        b"./\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"]]]]]]]]]]]]]]]]]]]",
        b"]\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(!lzma::is_lzma(start), "{start:?}");
    }
    assert!(lzma::is_lzma(
        b"]\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0"
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn hostile_streams_do_not_panic(
        magic in prop::sample::select(vec![
            &b"\x1f\x8b\x08\0"[..], b"\xfd7zXZ\0\0\x04", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18",
            b"BZh91AY&SY", b"LZIP\x01\x0c\0", b"]\0\0\x01\0\xff\xff\xff\xff\xff\xff\xff\xff\0",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = unpacked(&[magic, &rest].concat());
    }
}
