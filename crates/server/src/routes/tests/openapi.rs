// SPDX-License-Identifier: MIT OR Apache-2.0
//! The OpenAPI document matches the list of routes.

use std::collections::BTreeSet;

use super::*;

fn document() -> Value {
    serde_json::from_str(include_str!("../openapi.json")).unwrap()
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
    let server = Server::with_anonymous(Client::anonymous(Permission::ALL));
    let document = document();
    for (method, path) in described() {
        let tags = &document["paths"][&path][&method]["tags"][0];
        let below = if tags != "server" { "/os/stable" } else { "" };
        let path = path
            .replace("{id}", &"0".repeat(32))
            .replace("{object}", &format!("{}.commit", "0".repeat(64)))
            .replace("{name}", "x");
        let path = format!("{below}{path}");
        let reply = server.ask(&method.to_uppercase(), &path, None).await;
        let (status, text) = (reply.status, reply.text());
        assert!(
            status < 500 && status != 405 && !text.contains("nothing of that name"),
            "{method} {path}: {status} {text}"
        );
        // And another method is not.
        let reply = server.ask("PATCH", &path, None).await;
        assert_eq!(reply.status, 405, "{path}");
        let allowed = reply.headers["allow"].to_str().unwrap();
        let is_allowed = allowed.split(", ").any(|one| one == method.to_uppercase());
        assert!(is_allowed, "{method} {path}: {allowed}");
        assert!(reply.json()["error"].is_string(), "{path}");
    }
}

#[test]
fn the_document_that_is_served_has_a_summary_of_each_route() {
    let served: Value = serde_json::from_str(openapi_document()).unwrap();
    for (method, path) in described() {
        assert!(
            served["paths"][&path][&method]["summary"].is_string(),
            "{method} {path}"
        );
    }
}
