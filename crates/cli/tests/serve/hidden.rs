// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits that a pusher may not read: they are not told of them, and cannot publish them.

use oxtree_testkit::Repo;
use serde_json::json;

use crate::access::create;
use crate::fixture::{Answer, Fixture, Push, Served, curl, loose, oxtree, path, wish};

struct Stage {
    fixture: Fixture,
    store: Repo,
    /// The commits of `secret/x`, the first and its child.
    secret: [String; 2],
    /// For `app/*`.
    token: String,
}

impl Stage {
    fn new(allow: &str) -> Self {
        let fixture = Fixture::new();
        let store = fixture.repo("store");
        let first = fixture.commit(&store, "secret/x", 1);
        let second = fixture.commit(&store, "secret/x", 2);
        let token = create(&fixture, "app", &format!("{allow} --ref app/*"));
        Self {
            fixture,
            store,
            secret: [first, second],
            token,
        }
    }

    fn serve(&self, more: &[&str]) -> Served {
        let tokens = self.fixture.at("tokens.json");
        let args = [more, &["--tokens", path(&tokens), path(self.store.path())]].concat();
        Served::start(&args)
    }

    fn open(&self, server: &Served, name: &str, new: &str) -> Result<Push, Answer> {
        let wish = json!({"updates": [{"ref": name, "old": null, "new": new}]});
        Push::open(server.url(), Some(&self.token), &wish)
    }

    fn read(&self, server: &Served, commit: &str) -> u16 {
        let bearer = format!("Authorization: Bearer {}", self.token);
        let url = format!("{}{}", server.url(), loose(&format!("{commit}.commit")));
        curl(&["-H", &bearer, &url]).status
    }
}

#[test]
fn who_does_not_bring_a_hidden_commit_neither_learns_of_it_nor_publishes_it() {
    let stage = Stage::new("--allow push --allow read");
    let server = stage.serve(&["--private"]);
    let [first, second] = &stage.secret;
    std::fs::write(stage.store.object(second, "commitmeta"), "").unwrap();
    let none = "0".repeat(64);

    // It is missing as one that is not there, in each form of the question.
    let refused = |commit: &str| {
        let push = stage.open(&server, "app/steal", commit).unwrap();
        let asked =
            json!({"objects": [format!("{commit}.commit"), format!("{commit}.commitmeta")]});
        let told = push.ask("POST", "/missing", &["--json", &asked.to_string()]);
        assert_eq!(told.json()["missing"], asked["objects"], "{commit}");
        let ids = stage.fixture.at("ids");
        let digits = commit.as_bytes().chunks(2);
        let digits = digits.map(|two| std::str::from_utf8(two).unwrap());
        let bytes = digits.map(|two| u8::from_str_radix(two, 16).unwrap());
        std::fs::write(&ids, [4].into_iter().chain(bytes).collect::<Vec<u8>>()).unwrap();
        let data = format!("@{}", path(&ids));
        let kind = "Content-Type: application/octet-stream";
        let told = push.ask("POST", "/missing", &["-H", kind, "--data-binary", &data]);
        assert_eq!((told.status, &told.body[..]), (200, &[1][..]), "{commit}");
        // What is not that commit does not bring it.
        let odd = ["commit", "commitmeta"].map(|kind| {
            let odd = ["--data-binary", "odd"];
            let odd = push.ask("PUT", &format!("/objects/{commit}.{kind}"), &odd);
            assert_eq!(odd.status, 422, "{odd:?}");
            odd.text()
        });
        let answer = push.finish();
        assert_eq!(answer.status, 409, "{answer:?}");
        assert_eq!(push.ask("DELETE", "", &[]).status, 204);
        [&odd[0], &odd[1], &answer.text()].map(|text| text.replace(commit, "COMMIT"))
    };
    assert_eq!(refused(second), refused(&none));

    // Nor by a commit that follows it: those who may not see it are not led there.
    let source = stage.fixture.repo("source");
    let tree = stage.fixture.at("tree-3");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "3").unwrap();
    let parent = format!("--parent={second}");
    let child = source.commit("app/child", &tree, &["--canonical-permissions", &parent]);
    let push = Push::open(
        server.url(),
        Some(&stage.token),
        &wish(&source, "app/child", None),
    );
    assert_eq!(push.unwrap().go(&source).status, 200);
    let copy = stage.open(&server, "app/copy", &child).unwrap();
    assert_eq!(copy.finish().status, 200);
    let seen = |server: &Served| [&child, second, first].map(|commit| stage.read(server, commit));
    assert_eq!(seen(&server), [200, 404, 404]);
    drop(server);
    let server = stage.serve(&["--private"]);
    assert_eq!(seen(&server), [200, 404, 404]);

    // Who has it can push it as any other.
    let from = format!("--repo={}", source.path().display());
    oxtree().ok(["pull-local", &from, path(stage.store.path()), "secret/x"]);
    let push = stage.open(&server, "app/own", second).unwrap();
    assert_eq!(push.go(&source).status, 200);
    assert_eq!(seen(&server), [200, 200, 404]);
    stage.store.fsck();
}

#[test]
fn the_other_doors_know_no_more() {
    let stage = Stage::new("--allow push");
    let server = stage.serve(&["--private"]);
    let second = &stage.secret[1];
    let bearer = format!("Authorization: Bearer {}", stage.token);
    let queue = format!("{}api/v1/queue", server.url());
    let name = format!("{second}.commit");
    let wish = json!({"refs": {"app/steal": {"server": "", "client": second}}, "objects": [name]});
    let opened = curl(&["-H", &bearer, "--json", &wish.to_string(), &queue]).json();
    let entry = format!("{queue}/{}", opened["id"].as_str().unwrap());
    let missing = curl(&["-H", &bearer, &entry]).json();
    assert_eq!(missing["objects"], json!([name]));
    let kind = "Content-Type: multipart/form-data; boundary=b";
    let body = [
        "-X",
        "PUT",
        "-H",
        &bearer,
        "-H",
        kind,
        "-d",
        "--b--\r\n",
        &entry,
    ];
    let sent = curl(&body);
    assert_eq!(sent.status, 409, "{sent:?}");

    // Whoever may only set refs to what is there is not told either.
    let promoter = create(&stage.fixture, "promoter", "--allow promote --ref app/*");
    let steal = json!({"updates": [{"ref": "app/steal", "old": null, "new": second}]});
    let refused = Push::open(server.url(), Some(&promoter), &steal).err();
    assert_eq!(refused.map(|answer| answer.status), Some(403));

    // Where all may be read without a token, nothing is hidden.
    drop(server);
    let server = stage.serve(&[]);
    let push = Push::open(server.url(), Some(&promoter), &steal).unwrap();
    assert_eq!(push.finish().status, 200);
    assert_eq!(stage.store.rev_parse("app/steal"), *second);
}
