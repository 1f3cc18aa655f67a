// SPDX-License-Identifier: MIT OR Apache-2.0
//! The OpenAPI document matches the list of routes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use axum::body::Body;
use hyper::Request;
use oxtree_repo::{Mode, Repo};
use oxtree_transfer::receive::LocalReceiver;
use serde_json::Value;

use super::*;
use crate::proxies::Peer;
use crate::{Config, ServedConfig};

/// This machine.
const HERE: Peer = Peer {
    address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    tls: false,
};

fn document() -> Value {
    serde_json::from_str(include_str!("openapi.json")).unwrap()
}

fn described() -> BTreeSet<(String, String)> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, ways): (&String, &Value)| {
        let ways = ways.as_object().unwrap().keys().cloned();
        let methods = ways.filter(|way| way != "parameters");
        methods
            .map(|method| (method, path.clone()))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

#[test]
fn the_document_has_each_route_and_each_route_is_in_it() {
    let routes = of_repositories().into_iter().chain(of_the_server());
    let routes: BTreeSet<(String, String)> = routes
        .map(|route| (route.method.to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(routes, described());
}

/// Whatever is asked: a token may not count or be refused too often, the method or the path may be wrong, and
/// the server may be.
#[test]
fn the_document_has_what_anything_can_be_answered_with() {
    let document = document();
    for (method, path) in described() {
        let responses = &document["paths"][&path][&method]["responses"];
        for status in ["400", "401", "405", "429", "500"] {
            assert!(responses[status].is_object(), "{method} {path}: {status}");
        }
    }
    let responses = document["components"]["responses"].as_object().unwrap();
    for (name, response) in responses {
        let schema = &response["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(schema, "#/components/schemas/Error", "{name}");
    }
    for name in ["TooOften", "Busy"] {
        assert_eq!(responses[name]["headers"]["Retry-After"]["required"], true);
    }
}

#[test]
fn what_the_document_refers_to_is_in_it() {
    fn look(value: &Value, document: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(to)) = map.get("$ref") {
                    let found = document.pointer(to.strip_prefix('#').unwrap());
                    assert!(found.is_some(), "{to}");
                }
                map.values().for_each(|value| look(value, document));
            }
            Value::Array(all) => all.iter().for_each(|value| look(value, document)),
            _ => {}
        }
    }
    look(&document(), &document());
}

/// Each is answered by a handler of its own: not with 404 for the path, nor with 405 for the method.
#[tokio::test]
async fn each_route_in_the_document_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    Repo::create(&path, Mode::Archive, None).unwrap();
    let open = path.clone();
    let app = Arc::new(
        App::new(Config {
            listen: Vec::new(),
            tls: None,
            insecure: false,
            repositories: vec![ServedConfig {
                name: "os/stable".to_owned(),
                path,
                open: Box::new(move |_| Ok(LocalReceiver::new(Repo::open(&open)?))),
                webhooks: Vec::new(),
                retention: None,
            }],
            agent: "test".to_owned(),
            anonymous: Client::anonymous(Permission::ALL),
            tokens: Some(dir.path().join("tokens.json")),
            issuers: Vec::new(),
            trusted_proxies: Vec::new(),
            access_log: None,
            audit_log: None,
            shutdown_delay: std::time::Duration::ZERO,
            push_lifetime: 60,
            header_timeout: std::time::Duration::from_secs(1),
            send_timeout: std::time::Duration::from_secs(1),
            max_connections: 1,
            max_connections_per_client: 1,
        })
        .unwrap(),
    );
    let service = Service::new(&app);
    let document = document();
    for (method, path) in described() {
        let tags = &document["paths"][&path][&method]["tags"][0];
        let below = if tags != "server" { "/os/stable" } else { "" };
        let path = path
            .replace("{id}", &"0".repeat(32))
            .replace("{object}", &format!("{}.commit", "0".repeat(64)))
            .replace("{name}", "x");
        let request = Request::builder()
            .method(method.to_uppercase().as_str())
            .uri(format!("{below}{path}"))
            .header("content-length", "0")
            .body(Body::empty())
            .unwrap();
        let response = service.answer(request, HERE, &Arc::default()).await;
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        let body = String::from_utf8_lossy(&body);
        assert!(
            status < 500 && status != 405 && !body.contains("nothing of that name"),
            "{method} {path}: {status} {body}"
        );
        // And another method is not.
        let request = Request::builder()
            .method("PATCH")
            .uri(format!("{below}{path}"))
            .body(Body::empty())
            .unwrap();
        let response = service.answer(request, HERE, &Arc::default()).await;
        assert_eq!(response.status().as_u16(), 405, "{path}");
        let allowed = response.headers()["allow"].to_str().unwrap();
        let is_allowed = allowed.split(", ").any(|one| one == method.to_uppercase());
        assert!(is_allowed, "{method} {path}: {allowed}");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        let body: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert!(body["error"].is_string(), "{path}");
    }
}
