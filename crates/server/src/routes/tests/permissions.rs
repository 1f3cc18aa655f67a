// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every route with every permission.

use std::collections::BTreeSet;

use super::*;

/// A client for each permission, and one with a token that allows nothing.
const CLIENTS: [(char, &str, &[Permission]); 7] = [
    ('-', "nothing", &[]),
    ('r', "read", &[Permission::Read]),
    ('p', "push", &[Permission::Push]),
    ('f', "force", &[Permission::Force]),
    ('d', "delete", &[Permission::Delete]),
    ('m', "promote", &[Permission::Promote]),
    ('a', "admin", &[Permission::Admin]),
];

/// The clients that each route lets in, by their letters.
const TABLE: [(&str, &str, &str); 29] = [
    ("GET", "/os/stable/ping", "-rpfdma"),
    ("GET", "/os/stable/api/v1/info", "pa"),
    ("POST", "/os/stable/api/v1/queue", "pa"),
    ("GET", "/os/stable/api/v1/queue/{id}", "pa"),
    ("PUT", "/os/stable/api/v1/queue/{id}", "pa"),
    ("DELETE", "/os/stable/api/v1/queue/{id}", "pa"),
    ("GET", "/os/stable/api/v1/repo", "rpma"),
    ("GET", "/os/stable/api/v1/jobs", "ra"),
    ("GET", "/os/stable/api/v1/pushes", "pma"),
    ("POST", "/os/stable/api/v1/pushes", "pma"),
    ("GET", "/os/stable/api/v1/pushes/{id}", "pma"),
    ("DELETE", "/os/stable/api/v1/pushes/{id}", "pma"),
    ("POST", "/os/stable/api/v1/pushes/{id}/missing", "pma"),
    ("POST", "/os/stable/api/v1/pushes/{id}/objects", "pa"),
    (
        "PUT",
        "/os/stable/api/v1/pushes/{id}/objects/{object}",
        "pa",
    ),
    ("POST", "/os/stable/api/v1/pushes/{id}/finish", "pma"),
    ("GET", "/healthz", "-rpfdma"),
    ("GET", "/readyz", "-rpfdma"),
    ("GET", "/metrics", "-rpfdma"),
    ("GET", "/api/v1/openapi.json", "-rpfdma"),
    ("GET", "/api/v1/repos", "-rpfdma"),
    ("GET", "/api/v1/tokens", "a"),
    ("POST", "/api/v1/tokens", "a"),
    ("DELETE", "/api/v1/tokens/{name}", "a"),
    // Files of a repository are no route.
    ("GET", "/os/stable/config", "ra"),
    ("GET", "/os/stable/summary", "ra"),
    ("GET", "/os/stable/refs/heads/main", "ra"),
    ("GET", "/os/stable/objects/00/{object}", "ra"),
    ("HEAD", "/os/stable/config", "ra"),
];

fn fill_in(path: &str) -> String {
    path.replace("{id}", &"0".repeat(32))
        .replace("{object}", &format!("{}.commit", "0".repeat(64)))
        .replace("{name}", "x")
}

#[test]
fn the_table_has_every_route() {
    let paths = |prefix: &'static str| {
        move |route: Route| {
            (
                route.method.to_uppercase(),
                format!("{prefix}{}", route.path),
            )
        }
    };
    let routes: BTreeSet<_> = of_repositories()
        .into_iter()
        .map(paths("/os/stable"))
        .collect();
    let mut routes = routes;
    routes.extend(of_the_server().into_iter().map(paths("")));
    let table = TABLE
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()));
    let table: BTreeSet<_> = table.collect();
    assert_eq!(
        routes.difference(&table).collect::<Vec<_>>(),
        Vec::<&(String, String)>::new()
    );
}

/// A client that lacks the permission is told which, and nothing else.
#[tokio::test]
async fn each_route_lets_in_clients_with_its_permission_only() {
    let server = Server::new();
    for (letter, name, permissions) in CLIENTS {
        let token = server.token(name, permissions, TokenLimits::default());
        for (method, path, allowed) in TABLE {
            let reply = server.ask(method, &fill_in(path), Some(&token)).await;
            let status = reply.status;
            if allowed.contains(letter) {
                assert!(
                    !matches!(status, 401 | 403 | 405 | 500..),
                    "{name}: {method} {path}: {status}"
                );
                continue;
            }
            assert_eq!(status, 403, "{name}: {method} {path}");
            if method != "HEAD" {
                let text = reply.text();
                assert!(
                    text.contains("lacks the permission"),
                    "{method} {path}: {text}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_client_without_a_token_is_asked_for_one() {
    let server = Server::new();
    for (method, path, allowed) in TABLE {
        let reply = server.ask(method, &fill_in(path), None).await;
        let status = reply.status;
        match allowed.contains('-') {
            true => assert_ne!(status, 401, "{method} {path}"),
            false => assert_eq!(status, 401, "{method} {path}"),
        }
    }
}

#[tokio::test]
async fn an_anonymous_client_has_the_permissions_of_the_configuration() {
    for (letter, name, permissions) in CLIENTS {
        let server = Server::with_anonymous(Client::anonymous(permissions.iter().copied()));
        for (method, path, allowed) in TABLE {
            let reply = server.ask(method, &fill_in(path), None).await;
            let is_refused = reply.status == 401;
            assert_eq!(
                is_refused,
                !allowed.contains(letter),
                "{name}: {method} {path}"
            );
        }
    }
}

/// A token takes nothing away that every client may read.
#[tokio::test]
async fn a_token_reads_what_an_anonymous_client_reads() {
    let server = Server::with_anonymous(Client::anonymous([Permission::Read]));
    let token = server.token("push", &[Permission::Push], TokenLimits::default());
    let reply = server.ask("GET", "/os/stable/config", Some(&token)).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_token_is_for_its_repositories_only() {
    let server = Server::new();
    let all = [Permission::Read, Permission::Push];
    let other = TokenLimits {
        repos: Some(&["os/testing"]),
        ..TokenLimits::default()
    };
    let token = server.token("other", &all, other);
    for path in ["config", "api/v1/repo", "api/v1/pushes", "api/v1/jobs"] {
        let reply = server
            .ask("GET", &format!("/os/stable/{path}"), Some(&token))
            .await;
        assert_eq!(reply.status, 403, "{path}");
        let error = reply.json()["error"].to_string();
        assert!(
            error.contains("token other is not for this repository"),
            "{path}: {error}"
        );
    }
    let repos = server.ask("GET", "/api/v1/repos", Some(&token)).await;
    assert_eq!(repos.json()["repos"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn a_token_that_is_not_known_is_refused_everywhere() {
    let server = Server::new();
    for (method, path, _) in &TABLE[..8] {
        let reply = server.ask(method, &fill_in(path), Some("wrong")).await;
        assert_eq!(reply.status, 401, "{method} {path}");
    }
}

/// A web page may have the user's browser send a request: it may only read.
#[tokio::test]
async fn a_web_page_only_reads() {
    let server = Server::with_anonymous(Client::anonymous(Permission::ALL));
    for (path, status) in [("config", 200), ("api/v1/pushes", 401)] {
        let here = Peer {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            tls: false,
        };
        let request = Request::builder().uri(format!("/os/stable/{path}"));
        let request = request
            .header("origin", "https://example.com")
            .body(Body::empty());
        let response = server
            .service
            .answer(request.unwrap(), here, &Arc::default())
            .await;
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
}
