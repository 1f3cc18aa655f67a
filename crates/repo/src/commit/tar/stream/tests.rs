// SPDX-License-Identifier: MIT OR Apache-2.0
//! Members, whole and damaged.

use super::records::records;
use super::*;

#[test]
fn records_may_hold_anything() {
    let list = records(b"11 a=b\nc=d\n6 e=f\n").unwrap();
    assert_eq!(
        list,
        [
            (b"a".to_vec(), b"b\nc=d".to_vec()),
            (b"e".to_vec(), b"f".to_vec())
        ]
    );
    for bad in [
        &b"x"[..],
        b"7 a=b\n",
        b"5 a=b\n",
        b"6 a-b\n",
        b"0 a=b\n",
        b"99999999999999999999 a=b\n",
        b"2 ",
        b" a=b\n",
    ] {
        assert!(records(bad).is_err(), "{bad:?}");
    }
}

fn tar(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, path, content).unwrap();
}

#[test]
fn members_one_after_the_other() {
    let long = "long/".repeat(60);
    let bytes = tar(|builder| {
        append(builder, "a", &[b'a'; 700]);
        append(builder, &long, b"");
        append(builder, "b", b"b");
    });
    let mut stream = Stream::new(&bytes[..]);
    let first = stream.next().unwrap().unwrap();
    assert_eq!((&first.name[..], first.size), (&b"a"[..], 700));
    // Half of the content is left unread.
    stream.content(700).read_exact(&mut [0; 300]).unwrap();
    assert_eq!(stream.next().unwrap().unwrap().name, long.as_bytes());
    let last = stream.next().unwrap().unwrap();
    let mut content = String::new();
    stream
        .content(last.size)
        .read_to_string(&mut content)
        .unwrap();
    assert_eq!(content, "b");
    assert!(stream.next().unwrap().is_none());
}

#[test]
fn cut_and_changed_streams_do_not_panic() {
    let bytes = tar(|builder| {
        builder
            .append_pax_extensions([("path", &b"other"[..])])
            .unwrap();
        append(builder, "a", &[b'a'; 700]);
    });
    let read_all = |bytes: &[u8]| -> io::Result<()> {
        let mut stream = Stream::new(bytes);
        while let Some(member) = stream.next()? {
            io::copy(&mut stream.content(member.size), &mut io::sink())?;
        }
        Ok(())
    };
    read_all(&bytes).unwrap();
    for end in 1..2 * BLOCK + 700 {
        assert!(
            end % BLOCK == 0 || read_all(&bytes[..end]).is_err(),
            "{end}"
        );
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        // Any outcome but a panic.
        let _ = read_all(&changed);
    }
}
