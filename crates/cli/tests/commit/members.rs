// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--tree=tar` with members of every type.

use std::fs;

use oxtree_testkit::trees;

use crate::archives::shell;
use crate::pair::Pair;

/// The header of a member and its content.
fn member(magic: &str, name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    let mut field =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(
        100,
        if name.ends_with('/') {
            "0000755"
        } else {
            "0000644"
        },
    );
    field(108, "0000000");
    field(116, "0000000");
    field(124, &format!("{:011o}", content.len()));
    field(136, "00000000000");
    field(148, "        ");
    field(156, char::from(kind).encode_utf8(&mut [0; 4]));
    if kind == b'1' || kind == b'2' {
        field(157, "f");
    }
    field(257, magic);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

const GNU: &str = "ustar  ";
const POSIX: &str = "ustar\x0000";

fn archive(members: &[&[u8]]) -> Vec<u8> {
    [&members.concat()[..], &[0; 1024]].concat()
}

#[test]
fn every_type_is_understood_as_libarchive_does() {
    let pair = Pair::new("archive");
    for magic in [GNU, POSIX] {
        let of = |name, kind, content: &[u8]| member(magic, name, kind, content);
        let (root, file) = (of("./", b'5', b""), of("f", b'0', b"abc"));
        // The header alone: it claims content that is not there.
        let claims = |name, kind| of(name, kind, b"12345")[..512].to_vec();
        for (what, members) in [
            (
                "label",
                vec![of("LABEL", b'V', b""), root.clone(), file.clone()],
            ),
            (
                "label later",
                vec![root.clone(), of("LABEL", b'V', b""), file.clone()],
            ),
            (
                "incremental",
                vec![root.clone(), of("d/", b'D', b"Yf\0\0"), file.clone()],
            ),
            (
                "contiguous",
                vec![root.clone(), of("g", b'7', b"hello"), file.clone()],
            ),
            (
                "old long name",
                vec![root.clone(), of("g", b'N', b"hello"), file.clone()],
            ),
            (
                "unknown",
                vec![root.clone(), of("g", b'Z', b"hello"), file.clone()],
            ),
            (
                "directory with a size",
                vec![root.clone(), claims("d/", b'5'), file.clone()],
            ),
            (
                "old directory with a size",
                vec![root.clone(), claims("d/", b'0'), file.clone()],
            ),
            (
                "link with a size",
                vec![root.clone(), claims("s", b'2'), file.clone()],
            ),
            (
                "extended header of Sun",
                vec![root.clone(), of("x", b'X', b"12 path=abc\n"), file.clone()],
            ),
            (
                "hard link with its content",
                vec![
                    root.clone(),
                    of("x", b'x', b"12 path=abc\n"),
                    file.clone(),
                    of("f", b'0', b"abc"),
                    of("h", b'1', b"abc"),
                ],
            ),
        ] {
            let members: Vec<&[u8]> = members.iter().map(Vec::as_slice).collect();
            fs::write(pair.path("a.tar"), archive(&members)).unwrap();
            let args = ["--orphan", "--timestamp=@1700000000", "--tree=tar=a.tar"];
            // The real one refuses an extended header of POSIX in an archive of GNU.
            if what == "hard link with its content" && magic == GNU {
                pair.ours.run("commit", args).expect_ok();
                continue;
            }
            let real = pair.real.run("commit", args);
            let ours = pair.ours.run("commit", args);
            assert_eq!(
                ours.expect_ok().stdout(),
                real.expect_ok().stdout(),
                "{what}"
            );
        }
        // Nothing is lost silently.
        for (what, members, text) in [
            (
                "directory with content",
                vec![of("d/", b'5', b"hello"), file.clone()],
                "d/, which has content",
            ),
            (
                "old directory with content",
                vec![of("d/", b'0', b"hello"), file.clone()],
                "d/, which has content",
            ),
            (
                "continued",
                vec![of("g", b'M', b"hello"), file.clone()],
                "join the volumes",
            ),
            ("device", vec![of("c", b'3', b"")], "Unsupported file type"),
            (
                "damaged header",
                vec![file.clone(), vec![b'x'; 512]],
                "damaged after f",
            ),
            (
                "only an extended header",
                vec![of("x", b'x', b"12 path=abc\n")],
                "after an extended header",
            ),
        ] {
            let mut all = vec![&root[..]];
            all.extend(members.iter().map(Vec::as_slice));
            fs::write(pair.path("a.tar"), archive(&all)).unwrap();
            let out = pair.ours.run("commit", ["--orphan", "--tree=tar=a.tar"]);
            let message = out.expect_failure().stderr();
            assert!(message.contains(text), "{what}: {message}");
        }
        for (what, bytes, text) in [
            (
                "unknown",
                archive(&[&root, &of("g", b'Z', b"hello")]),
                "warning: a.tar: g is of the unknown type 'Z'",
            ),
            (
                "incremental",
                archive(&[&root, &of("d/", b'D', b"Nf\0\0")]),
                "an incremental archive",
            ),
            (
                "no end",
                [&root[..], &file].concat(),
                "no end mark: it may be truncated",
            ),
            (
                "two archives",
                [archive(&[&root]), archive(&[&file])].concat(),
                "after the end of the archive",
            ),
        ] {
            fs::write(pair.path("a.tar"), bytes).unwrap();
            let out = pair.ours.run("commit", ["--orphan", "--tree=tar=a.tar"]);
            assert!(out.stderr().contains(text), "{what}: {out:?}");
            out.expect_ok();
        }
    }
    pair.fsck();
}

/// The root of a commit, as `ls` prints it with its checksums.
fn tree_of(pair: &Pair, commit: &str) -> String {
    pair.ours.ok("ls", ["-C", "-R", "-X", commit.trim()])
}

/// Writes an archive whose file has these extended headers.
fn with_records(pair: &Pair, records: &str) {
    let members = [
        member(POSIX, "./", b'5', b""),
        member(POSIX, "x", b'x', records.as_bytes()),
        member(POSIX, "f", b'0', b"1"),
    ];
    let bytes = archive(&members.each_ref().map(Vec::as_slice));
    fs::write(pair.path("a.tar"), bytes).unwrap();
}

#[test]
fn attributes_as_libarchive_writes_them() {
    for mode in ["archive", "bare-user"] {
        let pair = Pair::new(mode);
        let record = |text: &str| {
            let len = text.len() + 2;
            let len = len + if len + 2 > 99 { 3 } else { 2 };
            format!("{len} {text}\n")
        };
        for records in [
            record("LIBARCHIVE.xattr.user.z=AQID"),
            record("LIBARCHIVE.xattr.user.a%2fb%3D=AQI"),
        ] {
            with_records(&pair, &records);
            pair.same(&["-b", "main", "--tree=tar=a.tar"]);
        }
        // bsdtar writes each attribute in both ways. The real one then stores it twice; ours stores it once.
        with_records(&pair, &record("LIBARCHIVE.xattr.user.z=AQI="));
        let args = ["-b", "main", "--timestamp=@1700000000", "--tree=tar=a.tar"];
        let once = pair.ours.ok("commit", args);
        for records in [
            record("LIBARCHIVE.xattr.user.z=AQI=") + &record("SCHILY.xattr.user.z=\u{1}\u{2}"),
            record("SCHILY.xattr.user.z=\u{1}\u{2}") + &record("LIBARCHIVE.xattr.user.z=AQI"),
        ] {
            with_records(&pair, &records);
            let orphan = ["--orphan", "--timestamp=@1700000000", "--tree=tar=a.tar"];
            assert_eq!(
                tree_of(&pair, &pair.ours.ok("commit", orphan)),
                tree_of(&pair, &once)
            );
        }
        let listed = pair.ours.ok("ls", ["-X", "main", "/f"]);
        assert!(
            listed.contains("user.z") && listed.contains("0x01, 0x02"),
            "{listed}"
        );
        pair.fsck();
    }
}

#[test]
fn labels_increments_and_volumes_of_gnu_tar() {
    let pair = Pair::new("archive");
    pair.tree("tree", |path| trees::small(path, 1));
    for format in ["gnu", "posix"] {
        shell(
            &pair,
            &format!(
                "rm -f snar; tar cf a.tar --format={format} -V 'A label' -C tree .; \
                 tar cf b.tar --format={format} --listed-incremental=snar -C tree ."
            ),
        );
        pair.same(&["--orphan", "--tree=tar=a.tar"]);
        let args = ["--orphan", "--timestamp=@1700000000", "--tree=tar=b.tar"];
        let ours = pair.ours.run("commit", args);
        assert_eq!(ours.stderr(), "");
        let real = pair.real.run("commit", args).expect_ok().stdout();
        assert_eq!(ours.expect_ok().stdout(), real);
        // What is not new stays away, and the user is told.
        shell(
            &pair,
            &format!("tar cf c.tar --format={format} --listed-incremental=snar -C tree ."),
        );
        let ours = pair.ours.run("commit", ["--orphan", "--tree=tar=c.tar"]);
        assert!(ours.stderr().contains("an incremental archive"), "{ours:?}");
        shell(
            &pair,
            &format!(
                "head -c 60000 /dev/urandom >tree/large; \
                 printf 'n v2.tar\\nn v3.tar\\nn v4.tar\\n' | tar cMf v1.tar --format={format} -L 30 -C tree ./large; rm tree/large"
            ),
        );
        for volume in ["v1.tar", "v2.tar"] {
            let tree = format!("--tree=tar={volume}");
            let args = ["--orphan", "--tar-autocreate-parents", &tree];
            let message = pair.ours.run("commit", args).expect_failure().stderr();
            let said = if volume == "v1.tar" {
                "truncated"
            } else {
                "join the volumes"
            };
            assert!(message.contains(said), "{format} {volume}: {message}");
        }
    }
}
