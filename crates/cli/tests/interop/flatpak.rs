// SPDX-License-Identifier: MIT OR Apache-2.0
//! flatpak's own tests (package flatpak-tests), which call `ostree` beside flatpak on the same
//! repositories: once with ours as `ostree`, once with `oxtree serve` as their web server.

use crate::installed::Installed;

const WRAPPER: &str = "test-wrapper.sh";

fn ostree(test: &str, points: usize) {
    let test = format!("{test}.wrap");
    Installed::new("Flatpak", &["ostree"]).run(WRAPPER, Some(&test), points);
}

fn served(test: &str, points: usize) {
    let test = format!("{test}.wrap");
    let tests = Installed::new("Flatpak", &["ostree"]).served();
    tests.run(WRAPPER, Some(&test), points);
}

#[test]
fn repo() {
    ostree("test-repo@user", 45);
}

#[test]
fn run_with_deltas() {
    ostree("test-run@user,deltas", 25);
}

#[test]
fn subset() {
    ostree("test-subset@user", 3);
}

#[test]
fn summaries() {
    ostree("test-summaries@user", 2);
}

#[test]
fn sideload() {
    ostree("test-sideload@user", 9);
}

#[test]
fn bundle() {
    ostree("test-bundle@user", 8);
}

#[test]
fn subset_served() {
    served("test-subset@user", 3);
}

#[test]
fn summaries_served() {
    served("test-summaries@user", 2);
}

#[test]
fn sideload_served() {
    served("test-sideload@user", 9);
}

#[test]
fn bundle_served() {
    served("test-bundle@user", 8);
}
