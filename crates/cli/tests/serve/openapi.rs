// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the server answers to curl is what its document says: the status, the headers, the body; and a
//! request that it takes is one of those that the document knows.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::fixture::{Answer, Fixture, Served, curl};

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        serde_json::from_str(oxtree_server::openapi_document()).expect("openapi.json")
    })
}

#[test]
fn the_document_that_is_served_is_the_one_that_tests_look_into() {
    let fixture = Fixture::new();
    let server = Served::open(&fixture.repo("store"));
    let served = curl(&[&format!("{}api/v1/openapi.json", server.url())]);
    assert_eq!(&served.json(), document());
}

/// Follows a `$ref`.
fn follow(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(to) => document()
            .pointer(to.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{to} is not there")),
        None => value,
    }
}

/// What is asked, in the words of curl's options.
#[derive(Debug, Default)]
struct Request {
    method: Option<String>,
    path: String,
    query: Option<String>,
    kind: Option<String>,
    accept: Option<String>,
    body: Option<String>,
    has_body: bool,
}

impl Request {
    /// Of curl's options, as far as they matter here.
    fn parse(args: &[&str]) -> Self {
        let mut request = Self::default();
        let mut args = args.iter();
        let mut implied = "GET";
        while let Some(arg) = args.next() {
            let mut value = || *args.next().expect("an option's value");
            match *arg {
                "-X" => request.method = Some(value().to_owned()),
                "-I" => implied = "HEAD",
                "-T" => {
                    value();
                    (implied, request.has_body) = ("PUT", true);
                }
                "-F" => {
                    value();
                    (implied, request.has_body) = ("POST", true);
                    request.kind = Some("multipart/form-data".to_owned());
                }
                "--json" | "-d" | "--data-binary" => {
                    let is_json = *arg == "--json";
                    let kind = match is_json {
                        true => "application/json",
                        false => "application/x-www-form-urlencoded",
                    };
                    request.kind.get_or_insert_with(|| kind.to_owned());
                    let body = value();
                    request.body = (!body.starts_with('@')).then(|| body.to_owned());
                    (implied, request.has_body) = ("POST", true);
                }
                "-H" => {
                    let (name, value) = value().split_once(':').unwrap_or_default();
                    let value = value.trim().to_owned();
                    match name.to_lowercase().as_str() {
                        "content-type" => request.kind = Some(value),
                        "accept" => request.accept = Some(value),
                        _ => {}
                    }
                }
                url if url.starts_with("http") => {
                    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
                    let path = rest.split_once('/').map_or("", |(_, path)| path);
                    let (path, query) = match path.split_once('?') {
                        Some((path, query)) => (path, Some(query.to_owned())),
                        None => (path, None),
                    };
                    (request.path, request.query) = (format!("/{path}"), query);
                }
                _ => {}
            }
        }
        request.method.get_or_insert_with(|| implied.to_owned());
        request
    }

    fn method(&self) -> String {
        let method = self.method.as_deref().unwrap_or("GET");
        match method {
            // The same, without the body.
            "HEAD" => "get".to_owned(),
            method => method.to_lowercase(),
        }
    }
}

/// The path of the document that a URL's path is one of, below whatever repository.
fn template(path: &str) -> Option<(&'static str, &'static Map<String, Value>)> {
    let paths = document()["paths"].as_object().expect("paths");
    let found = paths.iter().find(|(template, _)| {
        let template: Vec<&str> = template.split('/').skip(1).collect();
        let path: Vec<&str> = path.split('/').collect();
        let Some(before) = path.len().checked_sub(template.len()) else {
            return false;
        };
        // Whatever is before is a repository's name.
        let is_file = |word: &&str| ["objects", "refs", "deltas"].contains(word);
        before > 0
            && !path[..before].iter().any(is_file)
            && template
                .iter()
                .zip(&path[before..])
                .all(|(template, word)| template.starts_with('{') || template == word)
    });
    found.map(|(path, ways)| (path.as_str(), ways.as_object().expect("methods")))
}

/// Whether an answer that came to curl is one that the document knows.
pub(crate) fn check(args: &[&str], answer: &Answer) {
    let request = Request::parse(args);
    let Some((path, ways)) = template(&request.path) else {
        return;
    };
    let fail = |what: &str| -> ! { panic!("{what}\n{path}: {request:?}\n{answer:?}") };
    let method = request.method();
    let Some(operation) = ways.get(&method).filter(|_| method != "parameters") else {
        // Where tokens that do not count are refused, that comes first.
        if answer.status == 405 {
            let allowed: Vec<&str> = answer
                .header("allow")
                .unwrap_or_default()
                .split(", ")
                .collect();
            let known = ways.keys().filter(|way| *way != "parameters");
            if !known.clone().all(|way| allowed.contains(&way.as_str())) {
                fail("`Allow` lacks some of the document's methods");
            }
            check_answer(
                &document()["components"]["responses"]["NoMethod"],
                &request,
                answer,
            )
            .unwrap_or_else(|error| fail(&error));
        } else if answer.status < 400 {
            fail("the document lacks this method");
        }
        return;
    };
    let Some(response) = operation["responses"].get(answer.status.to_string()) else {
        fail("the document lacks this status");
    };
    check_answer(follow(response), &request, answer).unwrap_or_else(|error| fail(&error));
    if answer.status < 300 {
        check_request(path, ways, operation, &request).unwrap_or_else(|error| fail(&error));
    }
}

fn check_answer(
    response: &'static Value,
    request: &Request,
    answer: &Answer,
) -> Result<(), String> {
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let value = answer.header(&name.to_lowercase());
        match value {
            None if header["required"] == true => return Err(format!("no {name}")),
            Some(value)
                if header["schema"]["type"] == "integer" && value.parse::<u64>().is_err() =>
            {
                return Err(format!("{name} is no number"));
            }
            _ => {}
        }
    }
    if request.method.as_deref() == Some("HEAD") {
        return Ok(());
    }
    let Some(content) = response["content"].as_object() else {
        return match answer.body.is_empty() {
            true => Ok(()),
            false => Err("the document knows of no body".to_owned()),
        };
    };
    let kind = answer.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let Some(media) = content.get(kind) else {
        return Err(format!("the document lacks the type {kind:?} here"));
    };
    let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).map_err(|e| e.to_string());
    match kind {
        "application/json" => fits(&parse(&answer.body)?, &media["schema"], "the body"),
        "application/x-ndjson" => answer
            .text()
            .lines()
            .try_for_each(|line| fits(&parse(line.as_bytes())?, &media["schema"], "a line")),
        _ => Ok(()),
    }
}

fn check_request(
    path: &str,
    ways: &'static Map<String, Value>,
    operation: &'static Value,
    request: &Request,
) -> Result<(), String> {
    if let Some(query) = &request.query {
        return Err(format!("the document knows of no query: {query}"));
    }
    let of_path = ways.get("parameters").and_then(Value::as_array);
    let of_method = operation["parameters"].as_array();
    let parameters: Vec<&Value> = of_path.into_iter().chain(of_method).flatten().collect();
    let words: Vec<&str> = path.split('/').collect();
    let at = request.path.split('/').count() - words.len();
    for (template, word) in words.iter().zip(request.path.split('/').skip(at)) {
        let Some(name) = template.strip_prefix('{') else {
            continue;
        };
        let name = name.trim_end_matches('}');
        let known = parameters.iter().find(|known| known["name"] == name);
        let known = known.ok_or_else(|| format!("the document says nothing of {name}"))?;
        fits(&Value::from(word), &known["schema"], name)?;
    }
    if let Some(accept) = &request.accept {
        let known = parameters.iter().find(|known| known["name"] == "Accept");
        let known = known.ok_or("the document says nothing of Accept")?;
        fits(&Value::from(accept.as_str()), &known["schema"], "Accept")?;
    }
    let Some(body) = operation.get("requestBody") else {
        return match request.body.as_deref().unwrap_or_default() {
            "" if !request.has_body || request.body.is_some() => Ok(()),
            _ => Err("the document knows of no body to send".to_owned()),
        };
    };
    if !request.has_body {
        return Err("a body is needed, says the document".to_owned());
    }
    let media = match &request.kind {
        // Of a file as it is, curl says nothing.
        None => Some(&body["content"]["application/octet-stream"]),
        // Nobody who writes it by hand thinks of it.
        Some(kind) if kind == "application/x-www-form-urlencoded" => {
            Some(&body["content"]["application/json"])
        }
        Some(kind) => body["content"].get(kind),
    };
    let media = media.filter(|media| media.is_object());
    let media = media.ok_or_else(|| format!("the document lacks {:?} here", request.kind))?;
    match &request.body {
        Some(text) if media["schema"]["format"] != "binary" => {
            let value = serde_json::from_str(text).map_err(|e| e.to_string())?;
            fits(&value, &media["schema"], "the request")
        }
        _ => Ok(()),
    }
}

/// Whether a value is as a schema has it, and has nothing that the schema lacks. A word of JSON Schema that
/// this does not know is an error.
fn fits(value: &Value, schema: &'static Value, at: &str) -> Result<(), String> {
    let schema = follow(schema);
    let words = schema.as_object().ok_or("no schema")?;
    let wrong = |what: &dyn std::fmt::Display| Err(format!("{at}: {what}: {value}"));
    for (word, wanted) in words {
        let holds = match word.as_str() {
            "description" | "default" | "format" | "additionalProperties" => true,
            "type" => match wanted.as_str() {
                Some("object") => value.is_object(),
                Some("array") => value.is_array(),
                Some("string") => value.is_string(),
                Some("integer") => value.is_i64() || value.is_u64(),
                Some("boolean") => value.is_boolean(),
                Some("null") => value.is_null(),
                _ => return wrong(&format!("a type that is not known: {wanted}")),
            },
            "enum" => wanted.as_array().is_some_and(|all| all.contains(value)),
            "pattern" => value.as_str().is_some_and(|text| {
                let pattern = wanted.as_str().expect("a pattern");
                regex::Regex::new(pattern)
                    .expect("a pattern")
                    .is_match(text)
            }),
            "oneOf" => {
                let all = wanted.as_array().expect("a list");
                let fitting = all.iter().filter(|one| fits(value, one, at).is_ok());
                fitting.count() == 1
            }
            "required" => {
                let names = wanted.as_array().expect("a list").iter();
                let lacks = |name: &&Value| value.get(name.as_str().unwrap_or_default()).is_none();
                if let Some(name) = names.clone().find(lacks) {
                    return wrong(&format!("lacks {name}"));
                }
                true
            }
            "properties" => true,
            "prefixItems" => {
                let (values, schemas) = (value.as_array(), wanted.as_array().expect("a list"));
                for (value, schema) in values.into_iter().flatten().zip(schemas) {
                    fits(value, schema, at)?;
                }
                values.is_some_and(|values| values.len() == schemas.len())
            }
            "items" => {
                for value in value.as_array().into_iter().flatten() {
                    fits(value, wanted, at)?;
                }
                true
            }
            _ => return wrong(&format!("a schema with {word}")),
        };
        if !holds {
            return wrong(&format!("is not of {word} {wanted}"));
        }
    }
    let known = schema.get("properties").and_then(Value::as_object);
    let others = schema
        .get("additionalProperties")
        .filter(|others| others.is_object());
    for (name, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}: {name}");
        match known.and_then(|known| known.get(name)).or(others) {
            Some(schema) => fits(value, schema, &at)?,
            None if known.is_none() && schema.get("additionalProperties").is_none() => {}
            None => return Err(format!("{at}: the document lacks this field")),
        }
    }
    Ok(())
}

#[test]
fn what_the_document_lacks_is_noticed() {
    let answer = |status, headers: &str, body: &str| Answer {
        status,
        headers: headers.to_owned(),
        body: body.into(),
    };
    let json = "content-type: application/json";
    let url = "http://h/stable/api/v1/pushes/0123456789abcdef0123456789abcdef";
    let push =
        r#"{"id":"x","state":"open","refs":["a"],"objects":0,"bytes":0,"idle":0,"expires":9}"#;
    let notices =
        |args: &[&str], answer: &Answer| std::panic::catch_unwind(|| check(args, answer)).is_err();
    assert!(!notices(&[url], &answer(200, json, push)));
    assert!(!notices(&[url], &answer(404, json, r#"{"error":"no"}"#)));
    for (status, headers, body) in [
        (418, json, r#"{"error":"no"}"#),
        (404, json, r#"{"reason":"no"}"#),
        (404, "content-type: text/plain", "no"),
        (429, json, r#"{"error":"no"}"#),
        (405, json, r#"{"error":"no"}"#),
        (200, json, &push.replace("open", "shut")),
        (200, json, &push.replace("\"idle\"", "\"idel\"")),
        (200, json, &push.replace("\"a\"", "1")),
    ] {
        assert!(
            notices(&[url], &answer(status, headers, body)),
            "{status} {body}"
        );
    }
    // And what is sent.
    let url = "http://h/api/v1/pushes";
    let made = format!("{json}\nlocation: pushes/x");
    let change = r#"{"updates":[{"ref":"a","old":null,"new":null}]}"#;
    assert!(!notices(
        &["--json", change, url],
        &answer(201, &made, push)
    ));
    let odd = change.replace("null}", "null,\"forse\":true}");
    assert!(notices(&["--json", &odd, url], &answer(201, &made, push)));
    assert!(notices(
        &["--json", change, &format!("{url}?x")],
        &answer(201, &made, push)
    ));
}
