// SPDX-License-Identifier: MIT OR Apache-2.0
//! An app and its runtime: built by `flatpak build-export`, pushed through our receiver, which signs
//! them, then installed and updated by a stock `flatpak` over HTTP.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oxtree_testkit::{GpgHome, Output, Repo, Tool, WebServer};

use crate::called;
use crate::fixture::{Fixture, original};

const APP: &str = "app/org.example.App/x86_64/stable";
const RUNTIME: &str = "runtime/org.example.Platform/x86_64/1";

/// A flatpak with a home of its own. It needs no bus and no namespaces to install what has no
/// triggers.
struct Flatpak(Tool);

impl Flatpak {
    fn new() -> Self {
        Self(Tool::new("/usr/bin/flatpak"))
    }

    /// Trusts the key in this file for what is at this URL.
    fn add_remote(&self, url: &str, key: &Path) -> Output {
        let import = format!("--gpg-import={}", key.display());
        self.0.run(["--user", "remote-add", &import, "test", url])
    }

    fn installed(&self, kind: &str, path: &str) -> PathBuf {
        let home = self.0.home().join(".local/share/flatpak");
        home.join(kind).join(path)
    }

    fn app_says(&self) -> String {
        let path = "org.example.App/x86_64/stable/active/files/bin/hello";
        fs::read_to_string(self.installed("app", path)).expect("an installed program")
    }
}

/// What flatpak-builder leaves of an app and a runtime, without the building.
fn build(fixture: &Fixture, source: &Repo, text: &str) {
    let at = |name: &str| fixture.dir.path().join(name);
    let write = |name: &str, text: &str| {
        let path = at(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(&path, text).expect("write");
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
    };
    let platform = "runtime=org.example.Platform/x86_64/1\nsdk=org.example.Platform/x86_64/1\n";
    write(
        "rt/metadata",
        &format!("[Runtime]\nname=org.example.Platform\n{platform}"),
    );
    write("rt/usr/version", text);
    write(
        "app/metadata",
        &format!("[Application]\nname=org.example.App\n{platform}command=hello\n"),
    );
    write("app/files/bin/hello", &format!("#!/bin/sh\necho {text}\n"));
    for dir in ["rt/files", "app/export"] {
        fs::create_dir_all(at(dir)).expect("mkdir");
    }
    let (repo, flatpak) = (source.path().display().to_string(), Flatpak::new().0);
    let [rt, app] = ["rt", "app"].map(|name| at(name).display().to_string());
    for what in [
        &["--runtime", &repo, &rt, "1"][..],
        &[&repo, &app, "stable"],
    ] {
        let export = ["build-export", "--no-update-summary", "--arch=x86_64"];
        flatpak.ok(export.iter().chain(what));
    }
}

#[test]
fn apps_install_and_update() {
    let fixture = Fixture::ours();
    let home = GpgHome::new();
    let [key, other] = ["server", "other"].map(|name| {
        let id = home.generate(&format!("{name}@example.com"), "rsa2048");
        let file = fixture.dir.path().join(name);
        let exported = home.run(&["--export", &id]).expect_ok();
        fs::write(&file, exported.stdout_bytes).expect("write");
        (id, file)
    });
    let conf = fixture
        .sshd
        .remote_home()
        .join(".config/ostree/ostree-receive.conf");
    fs::create_dir_all(conf.parent().expect("a parent")).expect("mkdir");
    let text = format!(
        "gpg_sign: [{}]\ngpg_homedir: {}\n",
        key.0,
        home.path().display()
    );
    fs::write(&conf, text).expect("write");
    let source = fixture.repo("source", "archive");
    let dest = fixture.repo("dest", "archive");
    let web = WebServer::serve(dest.path());
    build(&fixture, &source, "one");
    fixture
        .push(called("ostree-push"), &source, &dest, &[])
        .expect_ok();
    // What flatpak makes on the server is there, and what came from the builder is known by it.
    let refs = ["app/org", "appstream/", "appstream2/", "runtime/org"];
    let made = dest.refs();
    assert!(
        refs.iter()
            .all(|start| made.iter().any(|name| name.starts_with(start))),
        "{made:?}"
    );
    assert!(dest.path().join("summary.sig").exists());
    let from = dest.ok("show", ["--print-metadata-key=xa.from_commit", APP]);
    assert_eq!(from.trim(), format!("'{}'", source.rev_parse(APP)));
    dest.fsck();

    let client = Flatpak::new();
    client.add_remote(&web.url(), &key.1).expect_ok();
    let install = [
        "--user",
        "install",
        "--noninteractive",
        "-y",
        "test",
        "org.example.App",
    ];
    client.0.ok(install);
    let listed = client.0.ok(["--user", "list", "--columns=ref"]);
    for name in [APP, RUNTIME] {
        let (_, name) = name.split_once('/').expect("a kind");
        assert!(listed.contains(name), "{listed}");
    }
    assert_eq!(client.app_says(), "#!/bin/sh\necho one\n");
    // Somebody else's key is none.
    let refused = Flatpak::new().add_remote(&web.url(), &other.1);
    let error = refused.expect_failure().stderr();
    assert!(error.contains("public key not found"), "{error}");
    // The next versions come from the one pusher and the other.
    for (text, pusher) in [("two", called("ostree-push")), ("three", original())] {
        std::thread::sleep(std::time::Duration::from_secs(1));
        build(&fixture, &source, text);
        let refs = dest.refs();
        let before = dest.rev_parse(APP);
        fixture.push(pusher, &source, &dest, &[]).expect_ok();
        assert_eq!(
            (dest.refs(), dest.rev_parse(&format!("{APP}^"))),
            (refs, before)
        );
        client.0.ok(["--user", "update", "--noninteractive", "-y"]);
        assert_eq!(client.app_says(), format!("#!/bin/sh\necho {text}\n"));
        let runtime = "org.example.Platform/x86_64/1/active/files/version";
        let runtime = fs::read_to_string(client.installed("runtime", runtime));
        assert_eq!(runtime.expect("an installed runtime"), text);
    }
    dest.fsck();
}
