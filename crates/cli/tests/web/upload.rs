// SPDX-License-Identifier: MIT OR Apache-2.0
//! By the name of the Go program ostree-upload: its files, its client's requests to our server as they
//! are described, with its weaknesses as attacks, and our client at its server.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use oxtree_testkit::{Repo, Serve, Tool};
use serde_json::{Value, json};

use crate::fixture::{Fixture, OXTREE, assert_same};
use crate::old_server::{OldServer, Trouble};

/// The binary by that name.
fn upload(fixture: &Fixture) -> PathBuf {
    let link = fixture.at("ostree-upload");
    if !link.exists() {
        symlink(OXTREE, &link).expect("make a link");
    }
    link
}

/// A server with a token.
fn receive(fixture: &Fixture, dest: &Path) -> (Serve, String) {
    let tokens = fixture.at("tokens.yaml");
    let tokens = tokens.to_str().expect("UTF-8");
    let made = Tool::new(upload(fixture))
        .run(["gentoken", "-c", tokens])
        .expect_ok()
        .stdout();
    let token = made
        .trim()
        .strip_prefix("Token: ")
        .expect("a token")
        .to_owned();
    let dest = dest.to_str().expect("UTF-8");
    let args = [
        "receive",
        "-c",
        tokens,
        "--address",
        "127.0.0.1:0",
        "-r",
        dest,
    ];
    (
        Serve::start(upload(fixture), &args, fixture.at("receive.log")),
        token,
    )
}

/// The client of the original, a request at a time.
struct Client {
    server: SocketAddr,
    token: String,
}

impl Client {
    fn raw(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.server).expect("connect");
        let len = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n\
             {headers}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("ask");
        // The server may have answered, and hung up.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let text = answer.split_once("\r\n\r\n").map_or("", |(_, text)| text);
        (status.unwrap_or(0), text.to_owned())
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String) {
        let kind = match kind {
            "" => String::new(),
            kind => format!("Content-Type: {kind}\r\n"),
        };
        let headers = format!("Authorization: BEARER {}\r\n{kind}", self.token);
        self.raw(method, path, &headers, body)
    }

    fn queue(&self, list: &Value) -> (u16, String) {
        let list = list.to_string();
        self.ask("POST", "/api/v1/queue", "application/json", list.as_bytes())
    }

    /// Opens a push; its path.
    fn open(&self, name: &str, server: &str, client: &str, objects: &[String]) -> String {
        let refs = json!({name: {"server": server, "client": client}});
        let (status, said) = self.queue(&json!({"refs": refs, "objects": objects}));
        assert_eq!(status, 200, "{said}");
        let said: Value = serde_json::from_str(&said).expect("JSON");
        format!("/api/v1/queue/{}", said["id"].as_str().expect("an id"))
    }

    fn missing(&self, path: &str) -> Vec<String> {
        let (status, said) = self.ask("GET", path, "", b"");
        assert_eq!(status, 200, "{said}");
        let said: Value = serde_json::from_str(&said).expect("JSON");
        serde_json::from_value(said["objects"].clone()).expect("names")
    }

    fn put(&self, path: &str, body: &[u8]) -> (u16, String) {
        self.ask("PUT", path, "multipart/form-data; boundary=xYz", body)
    }
}

/// A file, and its checksum.
fn part(name: &str, content: &[u8], checksum: Option<&str>) -> Vec<u8> {
    let mut part = format!(
        "--xYz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    part.extend_from_slice(content);
    if let Some(checksum) = checksum {
        part.extend_from_slice(field("checksum", &format!("{name}:{checksum}")).as_bytes());
    }
    part.extend_from_slice(b"\r\n");
    part
}

fn field(name: &str, value: &str) -> String {
    format!("\r\n--xYz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}")
}

/// The names of all objects of a repository, and their contents.
fn objects(repo: &Repo) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for folder in fs::read_dir(repo.path().join("objects")).expect("read objects/") {
        let folder = folder.expect("an entry");
        for file in fs::read_dir(folder.path()).expect("read a folder") {
            let file = file.expect("an entry");
            let name = format!(
                "{}{}",
                folder.file_name().display(),
                file.file_name().display()
            );
            all.push((name, fs::read(file.path()).expect("read an object")));
        }
    }
    all.sort();
    all
}

fn sha256(content: &[u8]) -> String {
    let path = oxtree_testkit::temp_dir();
    fs::write(path.path().join("f"), content).expect("write");
    let sum = Tool::new("sha256sum")
        .dir(path.path())
        .run(["f"])
        .expect_ok()
        .stdout();
    sum[..64].to_owned()
}

#[test]
fn the_old_client_at_our_server() {
    let fixture = Fixture::new();
    let source = fixture.repo("source");
    let commit = fixture.commit(&source, "main", 1, 2);
    let dest = fixture.at("made/dest");
    fs::create_dir(fixture.at("made")).expect("mkdir");
    let (server, token) = receive(&fixture, &dest);
    let dest = Tool::ostree().repo(&dest);
    let mode = fs::metadata(fixture.at("tokens.yaml"))
        .expect("the tokens")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let client = Client {
        server: server.address(),
        token,
    };
    assert_eq!(client.raw("GET", "/ping", "", b""), (200, "{}".to_owned()));
    let refused = client.raw("GET", "/api/v1/info", "", b"");
    assert_eq!(refused, (401, "Unauthorized\n".to_owned()));
    let wrong = "Authorization: BEARER nonsense\r\n";
    assert_eq!(client.raw("GET", "/api/v1/info", wrong, b"").0, 401);
    let (status, info) = client.ask("GET", "/api/v1/info", "", b"");
    let info: Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(
        (status, &info),
        (200, &json!({"mode": "archive", "revs": {}}))
    );

    let objects = objects(&source);
    let names: Vec<String> = objects.iter().map(|(name, _)| name.clone()).collect();
    let path = client.open("main", "", &commit, &names);
    assert_eq!(client.missing(&path), names);
    // The first half comes, and the last object of it only in part.
    let mut body = Vec::new();
    let half = objects.len() / 2;
    for (name, content) in &objects[..half] {
        body.extend(part(name, content, Some(&sha256(content))));
    }
    body.truncate(body.len() - 200);
    assert_eq!(client.put(&path, &body).0, 400);
    let path = client.open("main", "", &commit, &names);
    let missing = client.missing(&path);
    assert!(
        missing.contains(&objects[half - 1].0),
        "a part of an object is none"
    );
    let mut body = Vec::new();
    for (name, content) in objects.iter().filter(|(name, _)| missing.contains(name)) {
        body.extend(part(name, content, Some(&sha256(content))));
    }
    body.extend_from_slice(b"--xYz--\r\n");
    assert_eq!(client.put(&path, &body), (200, String::new()));
    assert_same(&source, &dest, "main");
    // It has ended.
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(client.ask(method, &path, "", b"").0, 404, "{method}");
    }
    assert!(!server.said().contains(&client.token));
}

#[test]
fn its_weaknesses() {
    let fixture = Fixture::new();
    let source = fixture.repo("source");
    let commit = fixture.commit(&source, "main", 1, 2);
    let (server, token) = receive(&fixture, &fixture.at("dest"));
    let dest = Tool::ostree().repo(fixture.at("dest"));
    let server_address = server.address();
    let client = Client {
        server: server_address,
        token,
    };
    let zeros = "0".repeat(64);
    let refs = json!({"main": {"server": "", "client": commit}});

    for (kind, list, status) in [
        ("application/json", "", 400),
        ("application/json", "{", 400),
        ("application/json", "{} {}", 400),
        (
            "application/json",
            r#"{"refs": {}, "objects": [], "more": 1}"#,
            400,
        ),
        ("text/plain", "{}", 415),
    ] {
        let (found, said) = client.ask("POST", "/api/v1/queue", kind, list.as_bytes());
        assert_eq!(found, status, "{list}: {said}");
    }
    let long = format!(
        r#"{{"refs": {{}}, "objects": ["{}"]}}"#,
        "x".repeat(10 << 20)
    );
    assert_eq!(
        client.ask("POST", "/api/v1/queue", "", long.as_bytes()).0,
        413
    );
    assert_eq!(client.ask("GET", "/api/v1/info", "", b"x").0, 400);
    for name in [
        "x",
        "",
        "../../../escaped.filez",
        "/tmp/escaped.commit",
        &format!("{zeros}.filez/../../escaped"),
        &format!("{zeros}.file"),
        &format!("{zeros}.exe"),
    ] {
        let (status, said) = client.queue(&json!({"refs": refs, "objects": [name]}));
        assert_eq!(status, 400, "{name}: {said}");
    }
    for (name, server, new) in [
        ("../up", "", commit.as_str()),
        ("main", "x", &commit),
        ("main", "", "x"),
    ] {
        let refs = json!({name: {"server": server, "client": new}});
        assert_eq!(
            client.queue(&json!({"refs": refs, "objects": []})).0,
            400,
            "{name}"
        );
    }

    // What is not what its name says, a name that leads away, other fields.
    let objects = objects(&source);
    let (name, content) = objects
        .iter()
        .find(|(name, _)| name.ends_with(".filez"))
        .expect("a file");
    let (other, _) = objects
        .iter()
        .rfind(|(name, _)| name.ends_with(".filez"))
        .expect("a file");
    let names: Vec<String> = objects.iter().map(|(name, _)| name.clone()).collect();
    let end = "\r\n--xYz--\r\n";
    for body in [
        Vec::new(),
        b"no parts".to_vec(),
        part(name, content, None),
        part(&format!("{commit}.commit"), &vec![b'x'; 2 << 20], None),
        field("checksum", "x").into_bytes(),
    ] {
        let path = client.open("main", "", &commit, &names);
        let (found, said) = client.put(&path, &body);
        assert_eq!(found, 400, "cut off: {said}");
        assert!(said.contains("no complete multipart/form-data"), "{said}");
    }
    let path = client.open("main", "", &commit, &names);
    for kind in [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
    ] {
        let (found, said) = client.ask("PUT", &path, kind, b"x");
        assert_eq!(found, 400, "{kind}: {said}");
    }
    for (body, status) in [
        (part(other, content, None), 422),
        (part(name, content, Some(&zeros)), 422),
        (part("../../../escaped.filez", content, None), 422),
        (part(&name.replace(".filez", ".file"), content, None), 422),
        (field("rev", "x").into_bytes(), 422),
        (field("checksum", "x").into_bytes(), 422),
        (
            field("checksum", &format!("{name}:{zeros}")).into_bytes(),
            422,
        ),
        (
            part(&format!("{commit}.commit"), &vec![b'x'; 30 << 20], None),
            413,
        ),
        // Nothing at all of what it needs.
        (Vec::new(), 409),
        // Bodies that are malformed, or end too early, in what is small and what is large.
        (b"--xYz\r\nno head".to_vec(), 400),
        (
            b"--xYz\r\nContent-Disposition: attachment; name=x\r\n\r\n".to_vec(),
            400,
        ),
        (b"--xYz\r\n\xff\xfe: x\r\n\r\n".to_vec(), 400),
        ([&b"--xYz\r\nX: "[..], &[b'x'; 5000]].concat(), 400),
        (b"--xYzzz\r\n".to_vec(), 400),
    ] {
        let path = client.open("main", "", &commit, &names);
        let body = [&b"x\r\n"[..], &body, end.as_bytes()].concat();
        let (found, said) = client.put(&path, &body);
        assert_eq!(
            found,
            status,
            "{said}: {}",
            String::from_utf8_lossy(&body[..body.len().min(300)])
        );
        assert_eq!(client.ask("DELETE", &path, "", b"").0, 200);
        assert_eq!(client.ask("GET", &path, "", b"").0, 404);
    }
    let (status, _) = client.ask(
        "PUT",
        &client.open("main", "", &commit, &[]),
        "text/plain",
        b"x",
    );
    assert_eq!(status, 400);
    assert_eq!(dest.ok("refs", [""; 0]), "");
    assert!(self::objects(&dest).is_empty(), "nothing is public");
    assert!(!fixture.at("escaped.filez").exists() && !Path::new("/tmp/escaped.commit").exists());

    // Two that have seen the same: one wins.
    let first = client.open("main", "", &commit, &names);
    let later = fixture.commit(&source, "main", 2, 0);
    let second = client.open("main", "", &later, &[]);
    let put = |path: &str, objects: &[(String, Vec<u8>)]| {
        let parts = objects
            .iter()
            .map(|(name, content)| part(name, content, None));
        client.put(
            path,
            &[parts.collect::<Vec<_>>().concat(), end[2..].into()].concat(),
        )
    };
    assert_eq!(put(&first, &objects).0, 200);
    let (status, said) = put(&second, &self::objects(&source));
    assert_eq!(status, 409, "{said}");
    assert_eq!(dest.rev_parse("main"), commit);
    dest.fsck();
}

#[test]
fn our_client_at_both() {
    let fixture = Fixture::new();
    let source = fixture.repo("source");
    fixture.commit(&source, "main", 1, 3);
    fixture.commit(&source, "other", 1, 0);
    let (server, token) = receive(&fixture, &fixture.at("new"));
    let path = source.path().to_str().expect("UTF-8").to_owned();
    let push = |url: &str, args: &[&str]| {
        let tool = Tool::new(upload(&fixture)).env("OSTREE_UPLOAD_TOKEN", &token);
        let words = ["push", "-a", url, "-r", &path, "--prune"];
        tool.run(words.into_iter().chain(args.iter().copied()))
    };
    let new = Tool::ostree().repo(fixture.at("new"));
    let done = push(server.url(), &["-b", "main,other"]).expect_ok();
    assert!(done.stdout().ends_with("Done!\n"), "{done:?}");
    assert_same(&source, &new, "main");
    assert_same(&source, &new, "other");

    let old = fixture.repo("old");
    let server = OldServer::start(&old, &token);
    push(&server.url(), &["-b", "main"]).expect_ok();
    assert_same(&source, &old, "main");
    fixture.commit(&source, "main", 2, 3);
    push(&server.url(), &[]).expect_ok();
    assert_same(&source, &old, "main");
    assert_same(&source, &old, "other");
    assert_eq!(server.deleted(), 0);

    // It takes long, and does it all the same; or it does not, and says so: neither is overlooked.
    fixture.commit(&source, "main", 3, 3);
    server.will(Trouble::TakesLong);
    push(&server.url(), &[]).expect_ok();
    assert_same(&source, &old, "main");
    fixture.commit(&source, "main", 4, 3);
    for trouble in [Trouble::Refuses, Trouble::HangsUp] {
        server.will(trouble);
        let output = push(&server.url(), &[]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(!output.stdout().contains("Done!"), "{output:?}");
    }
    assert!(server.deleted() > 0, "nobody else is kept from pushing");
    // It would go back.
    source.ok("reset", ["main", "main^^"]);
    let output = push(&server.url(), &["-b", "main"]);
    assert!(
        output.code == Some(1) && output.stderr().contains("not descendent of commit"),
        "{output:?}"
    );
}

#[test]
fn as_the_original_is_called() {
    let fixture = Fixture::new();
    let tool = Tool::new(upload(&fixture)).dir(fixture.at(""));
    let output = tool.run(["push"]);
    assert_eq!(
        (output.code, output.stderr().as_str()),
        (Some(1), "error: Token is mandatory\n")
    );
    let output = tool.run(["receive"]);
    assert!(
        output
            .stderr()
            .contains("ostree-upload gentoken -c ostree-upload.yaml"),
        "{output:?}"
    );
    for _ in 0..2 {
        tool.run(["gentoken"]).expect_ok();
    }
    let file = fs::read_to_string(fixture.at("ostree-upload.yaml")).expect("the tokens");
    assert_eq!(
        file.matches("\n- token: ").count() + usize::from(file.starts_with("- ")),
        2,
        "{file}"
    );
    for words in [&["nonsense"][..], &["push", "--nonsense"], &[]] {
        assert_ne!(tool.run(words).code, Some(2), "{words:?}");
    }
}
