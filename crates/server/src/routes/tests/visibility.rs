// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client that may read some refs sees nothing of the others.

use oxtree_format::ObjectId;

use super::*;

fn path_of(commit: CommitId) -> String {
    let object = ObjectId::new(ObjectKind::Commit, commit.0);
    format!("objects/{}", object.loose_path(true))
}

#[tokio::test]
async fn a_client_of_some_refs_sees_those_only() {
    let server = Server::new();
    let ours = publish(&server.repo(), "ours", "app/a");
    let theirs = publish(&server.repo(), "theirs", "os/b");
    let refs = TokenLimits {
        refs: Some(&["app/*"]),
        ..TokenLimits::default()
    };
    let some = server.token("some", &[Permission::Read, Permission::Push], refs);
    let all = server.token("all", &[Permission::Read], TokenLimits::default());
    for (path, seen) in [
        ("config".to_owned(), true),
        ("refs/heads/app/a".to_owned(), true),
        ("refs/heads/os/b".to_owned(), false),
        (path_of(ours), true),
        (path_of(theirs), false),
    ] {
        let path = format!("/os/stable/{path}");
        let reply = server.ask("GET", &path, Some(&some)).await;
        assert_eq!(reply.status, if seen { 200 } else { 404 }, "{path}");
        assert_eq!(
            server.ask("GET", &path, Some(&all)).await.status,
            200,
            "{path}"
        );
    }
    for (path, list) in [("api/v1/repo", "refs"), ("api/v1/info", "revs")] {
        let reply = server
            .ask("GET", &format!("/os/stable/{path}"), Some(&some))
            .await;
        let text = reply.json()[list].to_string();
        assert!(
            text.contains("app/a") && !text.contains("os/b"),
            "{path}: {text}"
        );
    }
}

#[tokio::test]
async fn a_push_is_seen_by_its_owner_and_by_administrators() {
    let server = Server::new();
    let tokens = [
        ("ours", Permission::Push),
        ("theirs", Permission::Push),
        ("admin", Permission::Admin),
    ];
    let [ours, theirs, admin] =
        tokens.map(|(name, permission)| server.token(name, &[permission], TokenLimits::default()));
    let commit = "1".repeat(64);
    let wish = format!(r#"{{"updates": [{{"ref": "a", "old": null, "new": "{commit}"}}]}}"#);
    let body = ("application/json", wish.into_bytes());
    let opened = server
        .send("POST", "/os/stable/api/v1/pushes", Some(&ours), body)
        .await;
    assert_eq!(opened.status, 201, "{}", opened.text());
    let push = format!(
        "/os/stable/api/v1/{}",
        opened.headers["location"].to_str().unwrap()
    );
    for (token, status) in [(&ours, 200), (&theirs, 404), (&admin, 200)] {
        assert_eq!(server.ask("GET", &push, Some(token)).await.status, status);
        let list = server
            .ask("GET", "/os/stable/api/v1/pushes", Some(token))
            .await;
        let count = list.json()["pushes"].as_array().unwrap().len();
        assert_eq!(count, usize::from(status == 200));
    }
    assert_eq!(server.ask("DELETE", &push, Some(&theirs)).await.status, 404);
    assert_eq!(server.ask("DELETE", &push, Some(&ours)).await.status, 204);
}
