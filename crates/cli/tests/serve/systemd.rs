// SPDX-License-Identifier: MIT OR Apache-2.0
//! As a service of systemd, which opens its sockets and wants to be told how it is.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use oxtree_testkit::{Output, Tool};

use crate::fixture::{Fixture, OXTREE, Served, curl, path};

/// What systemd hands over: two sockets, at the places where it puts them.
const HANDED_OVER: &str = "exec 3<&0 4<&2 </dev/null 2>/dev/null
    export LISTEN_PID=$$ LISTEN_FDS=2
    exec \"$@\"";

/// A server that gets these sockets, by these names.
fn started(listeners: [&TcpListener; 2], names: &str, notify: &str, args: &[&str]) -> Command {
    let [first, second] = listeners.map(|listener| {
        let copy = listener.try_clone().expect("a second handle");
        Stdio::from(OwnedFd::from(copy))
    });
    let shell = Tool::new("/bin/sh")
        .env("LISTEN_FDNAMES", names)
        .env("NOTIFY_SOCKET", notify);
    let words = ["-c", HANDED_OVER, "sh", OXTREE, "serve"];
    let mut command = shell.command(words.iter().chain(args));
    command.stdin(first).stderr(second);
    command
}

#[test]
fn systemd_opens_the_sockets_and_is_told_how_it_goes() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    fixture.commit(&store, "os/main", 1);
    let (cert, key) = fixture.certificate("server");
    let socket = fixture.at("notify");
    let systemd = UnixDatagram::bind(&socket).expect("a socket");
    let patience = Some(Duration::from_secs(30));
    systemd.set_read_timeout(patience).expect("set a timeout");
    let heard = || {
        let mut buffer = [0; 1000];
        let len = systemd.recv(&mut buffer).expect("a word of the server");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [first, second] = [0, 1].map(|at| listeners[at].local_addr().expect("its address"));
    let both = listeners.each_ref();
    let repo = store.path();
    // Where nothing is listened to by the configuration's word.
    let secure = [
        "--listen=127.0.0.1:1",
        "--tls-cert",
        path(&cert),
        "--tls-key",
        path(&key),
        path(repo),
    ];
    let url = |tls: bool, address| format!("http{}://{address}/", if tls { "s" } else { "" });
    for (names, args, tls) in [
        ("plain:tls", &secure[..], [false, true]),
        ("tls:plain", &secure, [true, false]),
        ("oxtree.socket:oxtree.socket", &secure, [true, true]),
        ("oxtree.socket:oxtree.socket", &secure[5..], [false, false]),
        ("plain:", &secure[5..], [false, false]),
    ] {
        let server = Served::run(&mut started(both, names, path(&socket), args), 2);
        assert!(heard().contains("READY=1"));
        let urls = [url(tls[0], first), url(tls[1], second)];
        assert_eq!(server.urls(), urls, "{names}");
        for url in urls {
            let found = curl(&["--cacert", path(&cert), &format!("{url}refs/heads/os/main")]);
            assert_eq!(found.text().trim(), store.rev_parse("os/main"), "{names}");
        }
        assert!(server.stop(), "{names}: it ends well");
        assert!(heard().contains("STOPPING=1"));
    }
    // TLS cannot be spoken without a certificate.
    let mut command = started(both, "plain:tls", path(&socket), &secure[5..]);
    assert_eq!(Output::of(&mut command).code, Some(1));
}

/// The rights that the unit leaves to the server are what it needs, and no more.
#[test]
#[expect(
    clippy::print_stderr,
    reason = "who reads the tests' output has to know"
)]
fn the_unit_leaves_few_rights() {
    let analyze = "/usr/bin/systemd-analyze";
    if !std::path::Path::new(analyze).exists() {
        eprintln!("skipped: there is no {analyze}");
        return;
    }
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../packaging/systemd/oxtree.service"
    );
    // Ten times the exposure.
    let args = [
        "security",
        "--offline=true",
        "--threshold=15",
        "--no-pager",
        unit,
    ];
    let judged: Output = Tool::new(analyze).run(args);
    let said = judged.expect_ok().stdout();
    assert!(said.contains("Overall exposure level"), "{said}");
}
