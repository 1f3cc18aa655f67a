// SPDX-License-Identifier: MIT OR Apache-2.0
//! A push from its first request to its last, and tokens by the API.

use super::*;

/// The objects of a commit that [`publish`] has made, as an archive stores them.
fn objects(repo: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for folder in std::fs::read_dir(repo.join("objects")).unwrap() {
        let folder = folder.unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            let (folder, name) = (folder.file_name(), file.file_name());
            let name = format!("{}{}", folder.display(), name.display());
            all.push((name, std::fs::read(file.path()).unwrap()));
        }
    }
    all
}

#[tokio::test]
async fn a_push_is_opened_filled_and_finished() {
    let server = Server::new();
    let other = tempfile::tempdir().unwrap();
    let from = other.path().join("repo");
    Repo::create(&from, Mode::Archive, None).unwrap();
    let commit = publish(&from, "first", "main");
    let objects = objects(&from);
    let all = [Permission::Read, Permission::Push];
    let token = server.token("ci", &all, TokenLimits::default());
    let token = Some(token.as_str());
    let json = |text: String| ("application/json", text.into_bytes());
    let wish = format!(r#"{{"updates": [{{"ref": "main", "old": null, "new": "{commit}"}}]}}"#);
    let opened = server
        .send("POST", "/os/stable/api/v1/pushes", token, json(wish))
        .await;
    assert_eq!(opened.status, 201, "{}", opened.text());
    let push = format!(
        "/os/stable/api/v1/{}",
        opened.headers["location"].to_str().unwrap()
    );
    // Too early.
    let finished = server.ask("POST", &format!("{push}/finish"), token).await;
    assert_eq!(finished.status, 409, "{}", finished.text());
    let names: Vec<&str> = objects.iter().map(|(name, _)| name.as_str()).collect();
    let names = serde_json::json!({"objects": names}).to_string();
    let missing = format!("{push}/missing");
    let lacks = async || {
        let reply = server
            .send("POST", &missing, token, json(names.clone()))
            .await;
        reply.json()["missing"].as_array().map(Vec::len)
    };
    assert_eq!(lacks().await, Some(objects.len()));
    for (name, bytes) in &objects {
        let body = ("application/octet-stream", bytes.clone());
        let path = format!("{push}/objects/{name}");
        let put = server.send("PUT", &path, token, body).await;
        assert_eq!(put.status, 204, "{name}: {}", put.text());
    }
    assert_eq!(lacks().await, Some(0));
    // Not public yet.
    let path = "/os/stable/refs/heads/main";
    assert_eq!(server.ask("GET", path, token).await.status, 404);
    let finished = server.ask("POST", &format!("{push}/finish"), token).await;
    assert_eq!(finished.status, 200, "{}", finished.text());
    assert_eq!(
        server.ask("GET", path, token).await.text().trim(),
        commit.to_string()
    );
    for (name, bytes) in &objects {
        let (folder, rest) = name.split_at(2);
        let reply = server
            .ask("GET", &format!("/os/stable/objects/{folder}/{rest}"), token)
            .await;
        assert_eq!((reply.status, &reply.body), (200, bytes), "{name}");
    }
    let metrics = server.ask("GET", "/metrics", None).await.text();
    assert!(
        metrics.contains("oxtree_pushes_published_total 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("class=\"objects\",le=\"+Inf\"} 4"),
        "{metrics}"
    );
}

#[tokio::test]
async fn tokens_are_made_and_revoked() {
    let server = Server::new();
    let admin = server.token("admin", &[Permission::Admin], TokenLimits::default());
    let wish = br#"{"name": "ci", "permissions": ["read"]}"#.to_vec();
    let body = ("application/json", wish);
    let made = server
        .send("POST", "/api/v1/tokens", Some(&admin), body.clone())
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let again = server
        .send("POST", "/api/v1/tokens", Some(&admin), body)
        .await;
    assert_eq!(again.status, 409, "{}", again.text());
    let secret = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        server
            .ask("GET", "/os/stable/config", Some(&secret))
            .await
            .status,
        200
    );
    let list = server.ask("GET", "/api/v1/tokens", Some(&admin)).await;
    assert!(list.text().contains("\"ci\"") && !list.text().contains(&secret));
    let revoked = server
        .ask("DELETE", "/api/v1/tokens/ci", Some(&admin))
        .await;
    assert_eq!(revoked.status, 204);
    assert_eq!(
        server
            .ask("GET", "/os/stable/config", Some(&secret))
            .await
            .status,
        401
    );
}
