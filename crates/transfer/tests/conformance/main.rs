// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every store must do, whatever it is made of: to take pushes, and to be served. Runs for a local
//! repository in each mode, and for a small store in memory.

mod memory;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, FileId, ObjectId, ObjectKind};
use oxtree_repo::{Expected, Mode, RefUpdate, Repo, traverse};
use oxtree_testkit::{Tool, temp_dir, trees};
use oxtree_transfer::protocol::stream::{Form, Record};
use oxtree_transfer::store::local::LocalDestination;
use oxtree_transfer::store::published::SeenRefs;
use oxtree_transfer::store::{Destination, Published, Quarantine, Quota};

use self::memory::Memory;

/// More than any object here has.
const MAX: u64 = 1 << 30;

/// An object as it comes over the wire.
type Coming = (Record, Vec<u8>);

/// A commit with all its objects, each in every form that there is.
struct Sample {
    commit: CommitId,
    objects: Vec<ObjectId>,
    forms: Vec<Coming>,
}

impl Sample {
    /// Made by the real `ostree`, of what every mode can store.
    fn new(dir: &Path) -> Self {
        let tree = dir.join("tree");
        std::fs::create_dir(&tree).expect("mkdir");
        trees::small(&tree, 1);
        // Too large to be handled in one piece.
        trees::incompressible(&tree.join("large"), 3 << 20, 1);
        let source = Tool::ostree().repo(dir.join("source")).init("archive");
        let commit = source.commit("main", &tree, &["--canonical-permissions"]);
        let repo = Repo::open(source.path()).expect("open the source");
        let commit: CommitId = commit.parse().expect("a commit's id");
        let objects = traverse::all_objects(&repo, commit).expect("walk the commit");
        let forms = objects.iter().flat_map(|id| forms(&repo, *id)).collect();
        Self {
            commit,
            objects,
            forms,
        }
    }

    /// All objects, files in this form.
    fn in_form(&self, form: Form) -> impl Iterator<Item = &Coming> {
        let fits = move |record: &Record| record.form == Form::Metadata || record.form == form;
        self.forms.iter().filter(move |(record, _)| fits(record))
    }
}

fn read(mut from: impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("read an object");
    bytes
}

fn forms(repo: &Repo, object: ObjectId) -> Vec<Coming> {
    let coming = |form, bytes: Vec<u8>| {
        let len = bytes.len() as u64;
        (Record { object, form, len }, bytes)
    };
    if object.kind != ObjectKind::File {
        let bytes = repo.load_metadata(&object).expect("load metadata");
        return vec![coming(Form::Metadata, bytes)];
    }
    let id = FileId(object.checksum);
    let (filez, _) = repo.open_filez(id).expect("open it").expect("it is there");
    let file = repo.open_file(id).expect("open it");
    let plain = [file.header.hashed_bytes(), read(file.content)].concat();
    vec![coming(Form::Filez, read(filez)), coming(Form::Plain, plain)]
}

fn put_all(quarantine: &dyn Quarantine, sample: &Sample, form: Form) {
    for (record, bytes) in sample.in_form(form) {
        let put = quarantine.put(record, &mut &bytes[..], MAX);
        put.unwrap_or_else(|error| panic!("{}: {error}", record.object));
    }
}

fn all(sample: &Sample, missing: bool) -> Vec<bool> {
    vec![missing; sample.objects.len()]
}

fn to(name: &RefName, old: Option<CommitId>, new: CommitId) -> [RefUpdate; 1] {
    [RefUpdate {
        refspec: name.clone().into(),
        expected: Expected::Exactly(old),
        new: Some(new),
    }]
}

fn open(destination: &dyn Destination) -> Box<dyn Quarantine + '_> {
    let limits = destination.limits().expect("limits");
    let quota = Quota { limits, client: "" };
    destination.quarantine(quota).expect("a quarantine")
}

/// What is not what it says it is does not get in.
fn refuses_what_is_wrong(destination: &dyn Destination, sample: &Sample) {
    let quarantine = open(destination);
    let refused = |record: Record, bytes: &[u8], max: u64, what: &str| {
        let put = quarantine.put(&record, &mut &bytes[..], max);
        assert!(put.is_err(), "{}, {:?}: {what}", record.object, record.form);
        let missing = quarantine.missing(&[record.object]).expect("an answer");
        assert_eq!(missing, [true], "{}: {what}", record.object);
    };
    for (record, bytes) in &sample.forms {
        let mut other = *record;
        other.object.checksum = oxtree_format::Checksum::of(b"something else");
        refused(other, bytes, MAX, "another checksum");
        let mut flipped = bytes.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        refused(*record, &flipped, MAX, "a wrong bit");
        let short = &bytes[..bytes.len() - 1];
        refused(*record, short, MAX, "cut off");
        let len = record.len - 1;
        refused(Record { len, ..*record }, short, MAX, "one byte less");
        let long = [&bytes[..], b"x"].concat();
        let len = record.len + 1;
        refused(Record { len, ..*record }, &long, MAX, "one byte more");
        refused(Record { len: 0, ..*record }, b"", MAX, "nothing");
        let mut kind = *record;
        kind.object.kind = match record.object.kind {
            ObjectKind::DirMeta => ObjectKind::Commit,
            ObjectKind::File => continue,
            _ => ObjectKind::DirMeta,
        };
        refused(kind, bytes, MAX, "another kind");
    }
    let large = sample
        .forms
        .iter()
        .filter(|(record, _)| record.object.kind == ObjectKind::File && record.len > 1 << 20);
    for (record, bytes) in large {
        refused(*record, bytes, 1 << 20, "too large");
    }
    let commit = sample.commit;
    assert!(quarantine.check_complete(commit, None).is_err());
    quarantine.discard().expect("discarded");
}

/// Nothing is seen before it is published; what was cut off is resumed; refs change only from what
/// they are thought to be.
fn keeps_out_of_sight(destination: &dyn Destination, sample: &Sample, form: Form) {
    let name: RefName = "os/main".parse().expect("a ref's name");
    assert_eq!(
        destination.missing(&sample.objects).expect("an answer"),
        all(sample, true)
    );
    assert!(destination.refs().expect("refs").is_empty());

    let quarantine = open(destination);
    assert_eq!(
        quarantine.missing(&sample.objects).expect("an answer"),
        all(sample, true)
    );
    put_all(&*quarantine, sample, form);
    // Twice does no harm.
    put_all(&*quarantine, sample, form);
    assert_eq!(
        quarantine.missing(&sample.objects).expect("an answer"),
        all(sample, false)
    );
    assert_eq!(
        destination.missing(&sample.objects).expect("an answer"),
        all(sample, true)
    );
    assert!(
        !quarantine
            .is_public(&sample.commit.object())
            .expect("an answer")
    );
    assert!(destination.load(&sample.commit.object()).is_err());
    drop(quarantine);
    assert_eq!(
        destination.missing(&sample.objects).expect("an answer"),
        all(sample, true)
    );

    let resumed = open(destination);
    assert_eq!(
        resumed.missing(&sample.objects).expect("an answer"),
        all(sample, false)
    );
    // Another push at the same time has a quarantine of its own.
    let second = open(destination);
    assert_eq!(
        second.missing(&sample.objects).expect("an answer"),
        all(sample, true)
    );
    second.discard().expect("discarded");
    let metadata = sample
        .forms
        .iter()
        .filter(|(r, _)| r.form == Form::Metadata);
    for (record, bytes) in metadata {
        assert_eq!(&resumed.load(&record.object).expect("it is there"), bytes);
    }
    resumed
        .check_complete(sample.commit, None)
        .expect("complete");
    let commits = HashSet::from([sample.commit]);
    let wrong = to(&name, Some(sample.commit), sample.commit);
    assert!(resumed.publish(&wrong, &commits, &commits).is_err());
    assert!(destination.refs().expect("refs").is_empty());

    let again = open(destination);
    put_all(&*again, sample, form);
    again
        .publish(&to(&name, None, sample.commit), &commits, &commits)
        .expect("published");
    assert_eq!(
        destination.refs().expect("refs"),
        [(name, sample.commit)].into()
    );
    assert_eq!(
        destination.missing(&sample.objects).expect("an answer"),
        all(sample, false)
    );
    let commit = destination
        .load(&sample.commit.object())
        .expect("it is there");
    assert!(sample.forms.iter().any(|(_, bytes)| *bytes == commit));
    let lost = destination.update_summary(&[]).expect("a summary");
    assert!(lost.is_none());
    let after = open(destination);
    assert!(after.is_public(&sample.commit.object()).expect("an answer"));
    after.discard().expect("discarded");
}

/// What is thrown away is gone; a commit with a hole is not complete.
fn discards_and_finds_holes(destination: &dyn Destination, sample: &Sample, form: Form) {
    let quarantine = open(destination);
    put_all(&*quarantine, sample, form);
    quarantine.discard().expect("discarded");
    let quarantine = open(destination);
    assert_eq!(
        quarantine.missing(&sample.objects).expect("an answer"),
        all(sample, true)
    );
    let mut coming: Vec<&Coming> = sample.in_form(form).collect();
    let file = coming
        .iter()
        .position(|(record, _)| record.object.kind == ObjectKind::File);
    let (hole, bytes) = coming.remove(file.expect("a file"));
    for (record, bytes) in coming {
        quarantine.put(record, &mut &bytes[..], MAX).expect("put");
    }
    let error = quarantine
        .check_complete(sample.commit, None)
        .expect_err("a hole");
    let text = error.to_string();
    assert!(text.contains(&hole.object.checksum.to_string()), "{text}");
    quarantine.put(hole, &mut &bytes[..], MAX).expect("put");
    quarantine
        .check_complete(sample.commit, None)
        .expect("complete");
    quarantine.discard().expect("discarded");
}

/// What is published can be fetched, and nothing else; changes of refs are noticed once.
fn hands_out(destination: &dyn Destination, published: &dyn Published, sample: &Sample) {
    let name: RefName = "os/main".parse().expect("a ref's name");
    let path = |id: &ObjectId| format!("objects/{}", id.loose_path(true));
    let get = |path: &str| {
        let found = published.open(path).expect("an answer")?;
        let bytes = found.content.read().expect("read a public file");
        assert_eq!(bytes.len() as u64, found.size, "{path}");
        Some(bytes)
    };
    let mut seen = SeenRefs::default();
    let mut changed = || published.changed_since(&mut seen).expect("an answer");
    assert!(changed().is_empty());

    let quarantine = open(destination);
    put_all(&*quarantine, sample, Form::Filez);
    for object in &sample.objects {
        assert_eq!(get(&path(object)), None, "{object} is not public");
    }
    let commits = HashSet::from([sample.commit]);
    let update = to(&name, None, sample.commit);
    quarantine
        .publish(&update, &commits, &HashSet::new())
        .expect("published");

    assert_eq!(published.mode(), destination.mode());
    let refs = published.refs().expect("refs");
    assert_eq!(refs.refs, destination.refs().expect("refs"));
    assert!(refs.damaged.is_empty());
    assert_eq!(changed(), std::slice::from_ref(&name));
    assert!(changed().is_empty());
    for (record, bytes) in sample.in_form(Form::Filez) {
        let found = get(&path(&record.object));
        if record.form == Form::Metadata {
            assert_eq!(found.as_ref(), Some(bytes), "{}", record.object);
            let loaded = published.load(&record.object).expect("it is there");
            assert_eq!(&loaded, bytes);
        } else {
            assert_eq!(found.is_some(), published.mode() == "archive-z2");
        }
    }
    let commit = format!("{}\n", sample.commit);
    assert_eq!(get("refs/heads/os/main"), Some(commit.into_bytes()));
    assert!(get("config").is_some());
    for none in [
        "",
        "/",
        "tmp",
        "refs/heads/x",
        "objects/../config",
        "state/x",
        "nothing",
    ] {
        assert_eq!(get(none), None, "{none}");
    }
    let update = RefUpdate {
        refspec: name.clone().into(),
        expected: Expected::Exactly(Some(sample.commit)),
        new: None,
    };
    let none = HashSet::new();
    let gone = open(destination).publish(&[update], &none, &none);
    gone.expect("deleted");
    assert_eq!(changed(), [name]);
    assert_eq!(get("refs/heads/os/main"), None);
}

/// Runs everything; `make` gives an empty store each time, as a destination and to read from.
fn conforms<D: Destination, P: Published>(sample: &Sample, mut make: impl FnMut() -> (D, P)) {
    let (destination, published) = make();
    assert_eq!(destination.rules().expect("rules"), Default::default());
    refuses_what_is_wrong(&destination, sample);
    assert!(published.refs().expect("refs").refs.is_empty());
    for form in [Form::Filez, Form::Plain] {
        keeps_out_of_sight(&make().0, sample, form);
        discards_and_finds_holes(&make().0, sample, form);
    }
    let (destination, published) = make();
    hands_out(&destination, &published, sample);
}

#[test]
fn a_store_in_memory() {
    let dir = temp_dir();
    conforms(&Sample::new(dir.path()), || {
        let store = Memory::default();
        (store.clone(), store)
    });
}

#[test]
fn a_local_repository_in_each_mode() {
    let dir = temp_dir();
    let sample = Sample::new(dir.path());
    for mode in [
        Mode::Archive,
        Mode::Bare,
        Mode::BareUser,
        Mode::BareUserOnly,
    ] {
        let mut made: Vec<PathBuf> = Vec::new();
        conforms(&sample, || {
            let path = dir.path().join(format!("{mode}-{}", made.len()));
            made.push(path.clone());
            let repo = Repo::create(&path, mode, None).expect("make a repository");
            let published = Repo::open(&path).expect("open it again");
            (LocalDestination::new(repo), published)
        });
        for path in made {
            Tool::ostree().repo(path).fsck();
        }
    }
}
