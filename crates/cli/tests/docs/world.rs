// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machines that a page is about: all of them are this one.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use oxtree_testkit::{BinDir, Output, Sshd, Tool, WebServer, temp_dir};

use crate::page::Step;

/// Printed before the output of each command.
pub(crate) const MARK: char = '\u{1e}';

const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

/// A directory, an sshd and a web server for one page. In the page stand for them
///
/// - `/srv/`, `/var/` and `/etc/`: folders in the directory; `/etc/ostree/`: the folder in the home directory
///   where `oxtree receive` looks for its configuration;
/// - `server.example` and any user there: the sshd, for `ssh`; `http://server.example`: the web server,
///   which serves `/srv`; `https://server.example`: what listens on `[::]:443`;
/// - the ports 8080 and 8443: free ones;
/// - the URLs of the keys of GitHub and GitLab: the file `/etc/jwks.json`.
pub(crate) struct World {
    dir: tempfile::TempDir,
    sshd: Sshd,
    bins: BinDir,
    web: WebServer,
    http: u16,
    https: u16,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = temp_dir();
        fs::create_dir(dir.path().join("srv")).expect("a folder");
        let sshd = Sshd::with_binary(OXTREE);
        let bins = BinDir::linked(OXTREE, &["oxtree", "ostree-push", "ostree-upload"]);
        let config = bins.path().join("ssh.conf");
        let known_hosts = sshd.key().with_file_name("known_hosts");
        let options = format!(
            "Host *\nHostName 127.0.0.1\nPort {}\nUser {}\nIdentityFile {}\nUserKnownHostsFile {}\n\
             GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\nIdentitiesOnly yes\nBatchMode yes\n",
            sshd.port(),
            sshd.user(),
            sshd.key().display(),
            known_hosts.display()
        );
        fs::write(&config, options).expect("write ssh's configuration");
        // There is no account but that of the tests.
        bins.script(
            "ssh",
            &format!(
                "for word; do\n  shift\n  case $word in *@server.example) word=server.example ;; esac\n  \
                 set -- \"$@\" \"$word\"\ndone\nexec /usr/bin/ssh -F {} \"$@\"",
                config.display()
            ),
        );
        // Where a page adds a key.
        let keys = sshd.remote_home().join(".ssh");
        fs::create_dir(&keys).expect("a folder");
        let authorized = sshd.key().with_file_name("authorized_keys");
        std::os::unix::fs::symlink(authorized, keys.join("authorized_keys")).expect("a link");
        let web = WebServer::serve(dir.path().join("srv"));
        Self {
            http: free_port(),
            https: free_port(),
            dir,
            sshd,
            bins,
            web,
        }
    }

    /// A text of a page, with what is here in place of what the page is about.
    pub(crate) fn stand_in(&self, text: &str) -> String {
        let dir = self.dir.path().display();
        let conf = format!("{}/.config/ostree/", self.sshd.remote_home().display());
        let keys = format!("{dir}/etc/jwks.json");
        let mut text = text
            .replace(
                "https://token.actions.githubusercontent.com/.well-known/jwks",
                &keys,
            )
            .replace("https://gitlab.com/oauth/discovery/keys", &keys)
            .replace(
                "https://server.example",
                &format!("https://localhost:{}", self.https),
            )
            .replace(
                "http://server.example",
                self.web.url().trim_end_matches('/'),
            )
            .replace("'[::]:443'", &format!("127.0.0.1:{}", self.https))
            .replace(":8443", &format!(":{}", self.https))
            .replace(":8080", &format!(":{}", self.http));
        text = replace_path(&text, "/etc/ostree/", &conf);
        for folder in ["/srv/", "/var/", "/etc/"] {
            text = replace_path(&text, folder, &format!("{dir}{folder}"));
        }
        text
    }

    /// Runs the commands of a page.
    pub(crate) fn run(&self, page: &str, steps: &[Step]) -> Output {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs"));
        let name = page
            .strip_prefix("docs/")
            .unwrap_or(page)
            .trim_end_matches(".md");
        let of_page = |ending: &str| {
            let path = folder.join("setup").join(name.replace('/', "-") + ending);
            self.stand_in(&fs::read_to_string(path).unwrap_or_default())
        };
        let mut script = fs::read_to_string(folder.join("prelude.sh")).expect("prelude.sh");
        script += &of_page(".sh");
        for step in steps {
            let mut command = self.stand_in(&step.command);
            if ["oxtree serve ", "ostree-upload receive "]
                .iter()
                .any(|server| command.starts_with(server))
            {
                command = format!("serve {command}");
            }
            if step.fails() {
                command = format!("if\n{command}\nthen echo 'this does not fail'; fi");
            }
            write!(script, "\nprintf '\\036'\n{command}\n").expect("write to a string");
        }
        write!(script, "\nprintf '\\036'\n{}", of_page(".after.sh")).expect("write to a string");
        let home = self.sshd.remote_home();
        let commands: Vec<String> = steps
            .iter()
            .map(|step| self.stand_in(&step.command))
            .collect();
        fs::write(home.join("page"), commands.join("\n")).expect("write the page's commands");
        fs::write(home.join("script"), script).expect("write the script");
        let path = std::env::var("PATH").expect("PATH");
        let shell = Tool::new("/bin/bash").dir(self.dir.path());
        shell
            .env("PATH", format!("{}:{path}", self.bins.path().display()))
            .env("HOME", &home)
            .env("LC_ALL", "C.UTF-8")
            .env("HTTP_PORT", self.http.to_string())
            .env("SSH_DIR", self.sshd.key().parent().expect("its folder"))
            .run([home.join("script")])
    }
}

/// A port for a server that the page starts later: not one that the system gives to connections.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = 20_000 + std::process::id() % 10_000;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(port).expect("a free port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Replaces a path where it is not the end of a longer one.
fn replace_path(text: &str, from: &str, to: &str) -> String {
    let mut parts = text.split(from);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let goes_on = replaced
            .ends_with(|before: char| before.is_alphanumeric() || "._-}/*".contains(before));
        replaced += if goes_on { from } else { to };
        replaced += part;
    }
    replaced
}

#[test]
fn paths_are_replaced_as_a_whole() {
    let text = "cp /etc/a tree/etc/b x:/etc/c ='/etc/d' /etc/";
    let replaced = replace_path(text, "/etc/", "/here/etc/");
    assert_eq!(
        replaced,
        "cp /here/etc/a tree/etc/b x:/here/etc/c ='/here/etc/d' /here/etc/"
    );
}
