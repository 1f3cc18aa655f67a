// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server that sends its clients on to another: that one gets no header that was meant for the first.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use oxtree_testkit::{Tool, WebServer};

use crate::fixture::{Fixture, ours, theirs};

/// Sends on to the same path below a URL, and notes what it is sent. What has the word in it is there itself, first.
fn sends_on(to: String, heard: Arc<Mutex<String>>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("its number").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // That the other side has gone is no matter.
            drop(answer(&stream, &to, &heard));
        }
    });
    port
}

fn answer(mut stream: &TcpStream, to: &str, heard: &Mutex<String>) -> std::io::Result<()> {
    let mut head = String::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        head.push_str(&line.to_ascii_lowercase());
        head.push('\n');
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let place = match path.strip_prefix("/first") {
        Some(path) => format!("/second{path}"),
        None => format!("{to}{}", path.trim_start_matches("/second")),
    };
    heard.lock().expect("no panic").push_str(&head);
    let head = format!(
        "HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())
}

#[test]
fn headers_stay_with_the_server() {
    let fixture = Fixture::new();
    let (_, commits) = fixture.source(&Tool::ostree(), 1);
    let web = WebServer::serve(fixture.at("web"));
    let (first, second) = (Arc::default(), Arc::default());
    let behind = sends_on(
        web.url().trim_end_matches('/').to_owned(),
        Arc::clone(&second),
    );
    let front = sends_on(format!("http://127.0.0.1:{behind}"), Arc::clone(&first));
    let url = format!("http://127.0.0.1:{front}/first/repo");
    let client = fixture.client("client", "bare-user", &url);
    let secrets = ["X-Api-Key", "PRIVATE-TOKEN", "Authorization", "Cookie"];
    let mut words: Vec<String> = secrets
        .map(|name| format!("--http-header={name}=s3cret"))
        .to_vec();
    words.extend(["origin".to_owned(), "main".to_owned()]);
    client.ok("pull", words);
    assert_eq!(client.rev_parse("origin:main"), commits[0]);
    theirs(&client).fsck();
    let (first, second) = (first.lock().unwrap(), second.lock().unwrap());
    // Within the server they go along.
    assert!(first.contains("get /second/repo/config"), "{first}");
    let requests = first.matches("get /").count();
    assert_eq!(first.matches("s3cret").count(), secrets.len() * requests);
    assert!(second.contains("get /repo/config"), "{second}");
    assert!(!second.contains("s3cret"), "{second}");
    let nowhere = sends_on("ftp://h".to_owned(), Arc::default());
    let url = format!("--url=http://127.0.0.1:{nowhere}/repo");
    let client = ours().repo(fixture.at("client"));
    let said = client
        .run("pull", [&url, "origin", "main"])
        .expect_failure()
        .stderr();
    assert!(said.contains("redirects to a URL of ftp"), "{said}");
}
