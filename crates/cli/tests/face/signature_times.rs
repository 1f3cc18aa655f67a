// SPDX-License-Identifier: MIT OR Apache-2.0
//! The times of signatures and keys: both print them as the locale and the time zone want it.

use std::fs;
use std::path::Path;

use oxtree_testkit::{GpgHome, Tool};

use crate::side::{Side, ours};

/// A day below 10, one above, 29 February, 31 December; midnight and noon.
const MADE: [&str; 5] = [
    "20231201T014657",
    "20231216T134657",
    "20240229T235959",
    "20241231T235959",
    "20250309T000000",
];

/// A repository with a commit that was signed at all those times, by a key that will expire.
fn signed() -> (Side, String) {
    let (side, gpg) = (Side::new(), GpgHome::new());
    gpg.set_time("20200102T030405");
    let key = gpg.generate_with("One <one@example.org>", "ed25519", "80y", &[]);
    let again = gpg.add_subkey(&key, "ed25519", "20210607T000000");
    let homedir = format!("--gpg-homedir={}", gpg.path().display());
    side.commit("main", &["--timestamp=@1709251199"]);
    for time in MADE {
        gpg.set_time(time);
        // Each signature is by a key of its own, as a second one by the same key is refused.
        let signer = gpg.generate(&format!("At <{time}@example.org>"), "ed25519");
        let sign = ["gpg-sign", "--repo=repo", &homedir, "main", &signer];
        side.real(&sign).expect_ok();
    }
    // One whose key has expired since then.
    gpg.set_time("20200907T080910");
    let old = gpg.generate_with("Old <old@example.org>", "ed25519", "20210607T000000", &[]);
    let sign = ["gpg-sign", "--repo=repo", &homedir, "main", &old];
    side.ours(&sign).expect_ok();
    fs::create_dir(side.path("trusted")).unwrap();
    fs::write(side.path("trusted/ring.gpg"), gpg.export(&[])).unwrap();
    let add = ["remote", "add", "--repo=repo", "o", "http://example.org/"];
    side.real(&add).expect_ok();
    let import = ["remote", "gpg-import", "--repo=repo", "o"];
    let import = [&import[..], &["-k", "trusted/ring.gpg"]].concat();
    side.real(&import).expect_ok();
    (side, again)
}

/// Both print the same bytes of the commit's signatures and of the remote's keys.
fn same(side: &Side, locale: &[(&str, &str)], zone: &str) -> Vec<u8> {
    let run = |tool: Tool, args: &[&str]| {
        let trusted = side.path("trusted");
        let tool = tool.dir(side.path(".")).env("OSTREE_GPG_HOME", trusted);
        let tool = tool.env("TZ", zone).env("LOCPATH", side.path("locales"));
        let tool = locale
            .iter()
            .fold(tool, |tool, (key, value)| tool.env(key, value));
        tool.run(args).expect_ok().stdout_bytes
    };
    for args in [
        &["remote", "gpg-list-keys", "--repo=repo", "o"][..],
        &["log", "--repo=repo", "main"],
    ] {
        let (real, ours) = (run(Tool::ostree(), args), run(ours("ostree"), args));
        assert_eq!(show(&ours), show(&real), "{locale:?} {zone}: {args:?}");
    }
    let args = ["show", "--repo=repo", "main"];
    let (real, ours) = (run(Tool::ostree(), &args), run(ours("oxtree"), &args));
    assert_eq!(show(&ours), show(&real), "{locale:?} {zone}");
    ours
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\n", "\n")
}

/// Compiles a locale; `localedef` has warnings about its own sources, and says so with 1.
fn compile(dir: &Path, language: &str, encoding: &str) {
    let to = dir.join(format!("{language}.{encoding}"));
    let words = ["--no-archive", "-i", language, "-f", encoding];
    let output = Tool::new("localedef").run(words.map(Path::new).iter().chain([&&*to]));
    assert!(to.join("LC_TIME").exists(), "{output:?}");
}

#[test]
fn both_print_times_as_the_locale_does() {
    let (side, _) = signed();
    let locales = side.path("locales");
    fs::create_dir(&locales).unwrap();
    compile(&locales, "en_US", "UTF-8");
    compile(&locales, "de_DE", "UTF-8");
    compile(&locales, "fi_FI", "UTF-8");
    compile(&locales, "en_US", "ISO-8859-1");
    for (locale, form) in [
        ("C", "made Fri Dec ?1 01:46:57 2023"),
        ("POSIX", "made Fri Dec ?1 01:46:57 2023"),
        ("C.UTF-8", "made Fri Dec \u{2007}1 01:46:57 2023"),
        ("C.utf8", "made Thu Feb 29 23:59:59 2024"),
        ("C.UTF-8", "made Tue Dec 31 23:59:59 2024"),
        ("en_US.UTF-8", "made Fri 01 Dec 2023 01:46:57 AM UTC"),
        ("de_DE.UTF-8", "made So 09 Mär 2025 00:00:00 UTC"),
        ("fi_FI.UTF-8", "made pe \u{2007}1. joulukuuta 2023 01.46.57"),
        ("en_US.ISO-8859-1", "made Fri 01 Dec 2023 01:46:57 AM UTC"),
        ("xx_XX.UTF-8", "made Fri Dec ?1 01:46:57 2023"),
        ("../x", "made Fri Dec ?1 01:46:57 2023"),
    ] {
        let text = same(&side, &[("LC_ALL", locale)], "UTC");
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(form), "{locale}: {text}");
    }
    // Which variable wins, and that one locale which is not there makes all of them C.
    for locale in [
        &[("LC_ALL", ""), ("LANG", "de_DE.UTF-8")][..],
        &[
            ("LC_ALL", ""),
            ("LANG", "C.UTF-8"),
            ("LC_TIME", "de_DE.UTF-8"),
        ],
        &[("LC_ALL", ""), ("LANG", "de_DE.UTF-8"), ("LC_TIME", "C")],
        &[("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8")],
        &[("LC_ALL", ""), ("LANG", "C.UTF-8"), ("LC_PAPER", "xx_XX")],
        &[("LC_ALL", "C.UTF-8"), ("LANG", "xx_XX")],
    ] {
        same(&side, locale, "UTC");
    }
}

#[test]
fn both_print_times_as_the_time_zone_does() {
    let (side, expired) = signed();
    for zone in [
        "UTC",
        "America/New_York",
        "Asia/Kathmandu",
        ":Pacific/Auckland",
        "EST5EDT",
        "<+03>-3",
        "Nowhere/Town",
        "",
    ] {
        same(&side, &[("LC_ALL", "C.UTF-8")], zone);
    }
    let keys = side.ours(&["remote", "gpg-list-keys", "--repo=repo", "o"]);
    let keys = keys.expect_ok().stdout();
    let (_, keys) = keys.split_once(&expired).expect("the subkey");
    assert!(
        keys.contains("Expired: Mon Jun \u{2007}7 00:00:00 2021"),
        "{keys}"
    );
}
