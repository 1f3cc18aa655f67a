// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real `oxtree serve`: what pushers say is put into requests.

use std::fs;

use oxtree_testkit::{Repo, Serve, Tool};
use serde_json::{Value, json};

use crate::asked::{Answer, Request};
use crate::conversation::{Object, Part};
use crate::victim::{MEMORY, OXTREE, Victim, path_of, public, scratch};
use crate::web::name_of;

/// A server of a repository that others want to push to. It goes on while one pusher comes after the other.
pub(crate) struct Site {
    server: Serve,
    pub(crate) repo: Repo,
    /// The repository's config as it was.
    config: String,
    /// What stands in for `ostree-receive.conf`.
    conf: std::path::PathBuf,
}

/// What a part of a push belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Open,
    Missing,
    Objects,
}

impl To {
    /// Where a part goes; none if that is what requests are for.
    fn of(part: &Part) -> Option<Self> {
        match part {
            Part::Greeting(_) | Part::Pause(_) | Part::Silence => None,
            Part::Message(message) => match message["type"].as_str() {
                Some("update") => Some(Self::Open),
                Some("pusher" | "offered" | "sent" | "bye") => None,
                _ => Some(Self::Objects),
            },
            Part::Frame(b'I', _) => Some(Self::Missing),
            Part::Frame(..) | Part::Raw(_) => Some(Self::Objects),
        }
    }

    /// What is in a body before a part of this kind.
    fn body(self, part: &Part, is_first: bool) -> Vec<u8> {
        match (self, part) {
            (Self::Open, Part::Message(message)) => {
                let updates = message["updates"].as_array().expect("updates");
                let updates: Vec<String> = updates.iter().map(Value::to_string).collect();
                let before = if is_first { "{\"updates\":[" } else { "," };
                format!("{before}{}", updates.join(",")).into_bytes()
            }
            (Self::Missing, Part::Frame(_, ids)) => ids.clone(),
            _ => part.bytes(),
        }
    }

    fn end(self) -> &'static [u8] {
        match self {
            Self::Open => b"]}",
            _ => b"",
        }
    }
}

impl Site {
    pub(crate) fn new(victim: &Victim) -> Self {
        let repo = victim.copy("site");
        let conf = scratch(victim, "site.yaml");
        fs::write(&conf, "").expect("write");
        let log = scratch(victim, "site.log");
        let words = [
            "serve",
            "--allow-anonymous-push",
            "--listen=127.0.0.1:0",
            &path_of(&repo),
        ];
        let tool = Tool::new(OXTREE).env("OSTREE_RECEIVE_CONF", &conf);
        let server = Serve::run(tool.command(words), log);
        let config = fs::read_to_string(repo.path().join("config")).expect("its config");
        Self {
            server,
            repo,
            config,
            conf,
        }
    }

    /// From now on the repository has these limits, and its owner asks this of pushes.
    pub(crate) fn configure(&self, config: &[(&str, &str)], conf: &str) {
        let lines = config.iter().map(|(key, value)| {
            let (group, key) = key.split_once('.').expect("a group");
            format!("[{group}]\n{key}={value}\n")
        });
        let lines: String = lines.collect();
        let text = format!("{}\n{lines}", self.config);
        fs::write(self.repo.path().join("config"), text).expect("write");
        fs::write(&self.conf, conf).expect("write");
    }

    pub(crate) fn begin(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        length: Option<u64>,
    ) -> Request {
        Request::begin(self.server.address(), method, path, kind, length)
    }

    /// Asks for something with a body of this type.
    pub(crate) fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Answer {
        let mut request = self.begin(method, path, kind, Some(body.len() as u64));
        request.send(body);
        request.end()
    }

    /// Says all this in requests, each thing where it belongs. Nothing may come of it. Returns the first answer
    /// that is an error.
    pub(crate) fn hears(&self, parts: impl IntoIterator<Item = Part>) -> Answer {
        self.survives(|| self.says(parts))
    }

    /// The same; nobody looks what has come of it. Returns the last answer, if all is well.
    pub(crate) fn says(&self, parts: impl IntoIterator<Item = Part>) -> Answer {
        self.begins(parts).end()
    }

    /// The same, but for the end of the last request.
    pub(crate) fn begins(&self, parts: impl IntoIterator<Item = Part>) -> Pushing<'_> {
        let mut push = Pushing::new(self);
        let mut parts = parts.into_iter();
        while let Some(part) = push.going().then(|| parts.next()).flatten() {
            push.say(&part);
        }
        push
    }

    /// The same push, an object a request, and that as a client of ostree-upload makes it.
    pub(crate) fn hears_objects(&self, objects: &[Object]) -> [Answer; 2] {
        let commit = objects.last().expect("a commit").name.to_string();
        let one_by_one = self.survives(|| {
            let mut push = Pushing::new(self);
            let updates = json!([{"ref": "evil", "old": null, "new": commit}]);
            push.say(&Part::Message(
                json!({"type": "update", "updates": updates}),
            ));
            push.end_request();
            for object in objects {
                let path = format!("{}/objects/{}", push.path, name_of(object));
                let answer = self.ask("PUT", &path, "application/octet-stream", &object.bytes);
                push.hear(answer);
            }
            push.end()
        });
        [
            one_by_one,
            self.survives(|| self.upload("evil", None, &commit, objects)),
        ]
    }

    /// Does what the client of ostree-upload does: one request for all objects, which are called so.
    pub(crate) fn upload(
        &self,
        name: &str,
        old: Option<&str>,
        new: &str,
        objects: &[Object],
    ) -> Answer {
        let files = objects
            .iter()
            .map(|object| (name_of(object), &object.bytes[..]));
        self.upload_files(name, old, new, &files.collect::<Vec<_>>())
    }

    pub(crate) fn upload_files(
        &self,
        name: &str,
        old: Option<&str>,
        new: &str,
        files: &[(String, &[u8])],
    ) -> Answer {
        let wish = json!({"refs": {name: {"server": old.unwrap_or_default(), "client": new}}, "objects": []});
        let queued = self.ask(
            "POST",
            "/api/v1/queue",
            "application/json",
            wish.to_string().as_bytes(),
        );
        if queued.status != 200 {
            return queued;
        }
        let id = queued.json()["id"].as_str().expect("an id").to_owned();
        let path = format!("/api/v1/queue/{id}");
        let mut body = Vec::new();
        for (name, bytes) in files {
            let sha256 = oxtree_format::Checksum::of(bytes);
            let head = "--x\r\nContent-Disposition: form-data; name=";
            let file = format!("{head}\"file\"; filename=\"{name}\"\r\n\r\n");
            body.extend(file.as_bytes());
            body.extend_from_slice(bytes);
            body.extend(format!("\r\n{head}\"checksum\"\r\n\r\n{name}:{sha256}\r\n").as_bytes());
        }
        body.extend(b"--x--\r\n");
        let answer = self.ask("PUT", &path, "multipart/form-data; boundary=x", &body);
        self.forget(&format!("/api/v1/pushes/{id}"));
        answer
    }

    /// Nobody goes on with this push.
    fn forget(&self, push: &str) {
        let gone = self.ask("DELETE", push, "", b"");
        assert!(matches!(gone.status, 204 | 404), "{gone:?}");
    }

    /// Checks that the server is as well as before, and that nothing has come of what it has heard.
    pub(crate) fn survives(&self, talk: impl FnOnce() -> Answer) -> Answer {
        let look = || public(&self.repo).without("repo/state");
        let before = look();
        let answer = talk();
        let refused = (400..500).contains(&answer.status) && answer.status != 429;
        assert!(refused, "{answer:?}");
        before.assert_unchanged(&look());
        assert_eq!(self.ask("GET", "/healthz", "", b"").status, 200);
        let status = format!("/proc/{}/status", self.server.pid());
        let status = fs::read_to_string(status).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.trim_end_matches("kB").trim().parse::<u64>().ok());
        let peak = 1024 * peak.expect("its memory");
        assert!(
            peak < MEMORY,
            "the server has taken {peak} bytes: {answer:?}"
        );
        let said = self.server.said();
        assert!(!said.contains("panicked"), "{said}");
        self.forget_objects();
        answer
    }

    /// Nothing of what was right in a push is there for the next one.
    fn forget_objects(&self) {
        let tmp = self.repo.path().join("tmp");
        for entry in fs::read_dir(tmp).expect("list tmp/").flatten() {
            let name = entry.file_name().into_string().expect("UTF-8");
            if name.starts_with("oxtree-push-") && entry.path().is_dir() {
                fs::remove_dir_all(entry.path()).expect("delete a quarantine");
            }
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.repo.fsck();
        }
    }
}

/// A push, a request at a time.
pub(crate) struct Pushing<'s> {
    site: &'s Site,
    /// Its path, once it is open.
    path: String,
    is_open: bool,
    request: Option<(To, Request)>,
    silent: bool,
    /// The first answer that is an error.
    error: Option<Answer>,
}

impl<'s> Pushing<'s> {
    fn new(site: &'s Site) -> Self {
        Self {
            site,
            path: "/api/v1/pushes/none".to_owned(),
            is_open: false,
            request: None,
            silent: false,
            error: None,
        }
    }

    /// Whether anybody listens.
    fn going(&self) -> bool {
        let hears = self
            .request
            .as_ref()
            .is_none_or(|(_, request)| request.going);
        hears && !self.silent && (self.is_open || self.error.is_none())
    }

    fn say(&mut self, part: &Part) {
        match part {
            Part::Silence => self.silent = true,
            Part::Pause(time) => std::thread::sleep(*time),
            _ => {}
        }
        let Some(to) = To::of(part) else { return };
        let is_first = self.request.as_ref().is_none_or(|(now, _)| *now != to);
        if is_first {
            self.end_request();
            let (path, kind) = match to {
                To::Open => ("/api/v1/pushes".to_owned(), "application/json"),
                To::Missing => (format!("{}/missing", self.path), "application/octet-stream"),
                To::Objects => (
                    format!("{}/objects", self.path),
                    "application/vnd.oxtree.objects",
                ),
            };
            self.request = Some((to, self.site.begin("POST", &path, kind, None)));
        }
        if let Some((to, request)) = &mut self.request {
            request.send(&to.body(part, is_first));
        }
    }

    /// Ends the request that is under way.
    fn end_request(&mut self) {
        let Some((to, mut request)) = self.request.take() else {
            return;
        };
        let answer = match self.silent {
            true => request.wait(),
            false => {
                request.send(to.end());
                request.end()
            }
        };
        if (to, answer.status) == (To::Open, 201) {
            let id = answer.json()["id"].as_str().expect("an id").to_owned();
            self.path = format!("/api/v1/pushes/{id}");
            self.is_open = true;
        }
        self.hear(answer);
    }

    fn hear(&mut self, answer: Answer) {
        let is_well = (200..300).contains(&answer.status);
        if !is_well && self.error.is_none() {
            self.error = Some(answer);
        }
    }

    /// Finishes it, whatever has happened. Returns the first answer that is an error, or else the last.
    pub(crate) fn end(mut self) -> Answer {
        self.end_request();
        let mut last = None;
        if self.is_open {
            let path = format!("{}/finish", self.path);
            last = Some(self.site.ask("POST", &path, "", b""));
            self.site.forget(&self.path);
        }
        match last {
            // Then an error before it was of no consequence.
            Some(last) if last.status == 200 => last,
            _ => self.error.or(last).expect("an answer"),
        }
    }
}
