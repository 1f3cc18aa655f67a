// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real `flatpak`, an app for it, and the app's runtime.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::{Output, Repo, Tool};

/// A flatpak with a home of its own. It needs no bus and no namespaces to install what has no
/// triggers.
#[derive(Debug)]
pub struct Flatpak(Tool);

impl Flatpak {
    /// The ref of the app that [`Flatpak::export`] makes.
    pub const APP: &str = "app/org.example.App/x86_64/stable";

    /// And that of its runtime.
    pub const RUNTIME: &str = "runtime/org.example.Platform/x86_64/1";

    /// With nothing installed.
    #[must_use]
    pub fn new() -> Self {
        Self(Tool::new("/usr/bin/flatpak"))
    }

    /// The same, which believes those servers whose certificate is signed by one of these.
    #[must_use]
    pub fn trusting(ca: &Path) -> Self {
        Self(Self::new().0.trusting(ca))
    }

    /// Trusts the key in this file for what is at this URL.
    #[must_use = "whether it could is not looked at"]
    pub fn add_remote(&self, url: &str, key: &Path) -> Output {
        let import = format!("--gpg-import={}", key.display());
        self.0.run(["--user", "remote-add", &import, "test", url])
    }

    /// Installs the app and what it needs.
    ///
    /// # Panics
    /// When it cannot, or the runtime does not come along.
    pub fn install(&self) {
        let words = ["--user", "install", "--noninteractive", "-y", "test"];
        self.0.ok([&words[..], &["org.example.App"]].concat());
        let listed = self.0.ok(["--user", "list", "--columns=ref"]);
        for name in [Self::APP, Self::RUNTIME] {
            let (_, name) = name.split_once('/').expect("a kind");
            assert!(listed.contains(name), "{listed}");
        }
    }

    /// Brings all that is installed up to date.
    pub fn update(&self) {
        self.0.ok(["--user", "update", "--noninteractive", "-y"]);
    }

    /// What was exported has been installed.
    ///
    /// # Panics
    /// When it was something else.
    pub fn assert_has(&self, text: &str) {
        let read = |path: &str| fs::read_to_string(self.home(path)).expect("an installed file");
        let program = read("app/org.example.App/x86_64/stable/active/files/bin/hello");
        assert_eq!(program, format!("#!/bin/sh\necho {text}\n"));
        let runtime = read("runtime/org.example.Platform/x86_64/1/active/files/version");
        assert_eq!(runtime, text);
    }

    fn home(&self, path: &str) -> PathBuf {
        self.0.home().join(".local/share/flatpak").join(path)
    }

    /// What flatpak-builder leaves of an app and a runtime, without the building: commits in this repository. Both
    /// say `text`; `dir` is where they are made.
    ///
    /// # Panics
    /// When flatpak does not take them.
    pub fn export(dir: &Path, source: &Repo, text: &str) {
        let at = |name: &str| dir.join(name);
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
        let (repo, flatpak) = (source.path().display().to_string(), Self::new().0);
        let [rt, app] = ["rt", "app"].map(|name| at(name).display().to_string());
        for what in [
            &["--runtime", &repo, &rt, "1"][..],
            &[&repo, &app, "stable"],
        ] {
            let export = ["build-export", "--no-update-summary", "--arch=x86_64"];
            flatpak.ok(export.iter().chain(what));
        }
    }
}

impl Default for Flatpak {
    fn default() -> Self {
        Self::new()
    }
}
