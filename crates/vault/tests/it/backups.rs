//! Copies of what is kept, made and taken back by the operator.

use alloy_primitives::hex;
use seal::Secret;
use vault::Backups;

use super::*;

const OPERATOR: &str = "an operator's long key";

/// A vault in a directory, and its operator's door.
struct Office {
    door: Door,
    operator: Url,
    storage: String,
}

impl Office {
    async fn open(world: &World, directory: &Path) -> Self {
        let store = Store::open(&directory.join("vault.sqlite")).await.expect("opens");
        let door = world.vault(|config| config.store = store).await;
        let copies = directory.join("copies");
        let storage = hex::encode(copies.to_string_lossy().as_bytes());
        let backups = Backups { key: Secret::new(OPERATOR.to_owned()), directory: copies };
        let operator = serve(door.handle.operator(backups)).await;
        Self { door, operator, storage }
    }

    async fn ask(&self, method: Method, path: &str, key: Option<&str>) -> StatusCode {
        let path = path.replace("{storage}", &self.storage);
        let request = self.door.http.request(method, self.operator.join(&path).expect("a url"));
        let request =
            key.into_iter().fold(request, |request, key| request.header("X-API-KEY", key));
        request.send().await.expect("answers").status()
    }

    async fn check(&self, method: Method, path: &str, expected: u16) {
        let status = self.ask(method.clone(), path, Some(OPERATOR)).await;
        assert_eq!(status.as_u16(), expected, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_go_back_to_what_a_copy_has_and_copies_hold_no_secret() {
    let world = World::open().await;
    let directory = tempfile::tempdir().expect("a directory");
    let office = Office::open(&world, directory.path()).await;
    let (door, me) = (&office.door, world.requester.signer());
    let (before, after) = (named(me.address(), "before"), named(me.address(), "after"));
    assert_eq!(door.put(Method::POST, &before, "hush one", me).await.0, StatusCode::NO_CONTENT);

    office.check(Method::POST, "/admin/{storage}/replicate-backup?fileName=monday", 404).await;
    office.check(Method::POST, "/admin/backup", 201).await;
    office.check(Method::POST, "/admin/{storage}/replicate-backup?fileName=monday", 200).await;
    office.check(Method::POST, "/admin/{storage}/replicate-backup?fileName=monday", 400).await;
    assert_eq!(door.put(Method::POST, &after, "hush two", me).await.0, StatusCode::NO_CONTENT);
    office.check(Method::POST, "/admin/backup", 201).await;
    let copy = "/admin/{storage}/copy-to/{storage}?sourceFileName=backup.sqlite";
    office.check(Method::POST, &format!("{copy}&destinationFileName=tuesday"), 200).await;

    office.check(Method::POST, "/admin/{storage}/restore-backup?fileName=monday", 200).await;
    assert_eq!(door.put(Method::POST, &before, "again", me).await.0, StatusCode::CONFLICT);
    assert_eq!(door.put(Method::PUT, &after, "again", me).await.0, StatusCode::NOT_FOUND);
    office.check(Method::POST, "/admin/{storage}/restore-backup?fileName=tuesday", 200).await;
    assert_eq!(door.put(Method::POST, &after, "again", me).await.0, StatusCode::CONFLICT);

    let copies = directory.path().join("copies");
    for name in ["backup.sqlite", "monday", "tuesday"] {
        let path = copies.join(name);
        let bytes = std::fs::read(&path).expect("reads");
        assert!(!contains(&bytes, "hush") && !contains(&bytes, KEY), "{name}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
    office.check(Method::DELETE, "/admin/{storage}/delete-backup?fileName=monday", 200).await;
    office.check(Method::DELETE, "/admin/{storage}/delete-backup?fileName=monday", 404).await;
    assert_eq!(std::fs::read_dir(&copies).expect("lists").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_the_operator_and_no_other_file() {
    let world = World::open().await;
    let directory = tempfile::tempdir().expect("a directory");
    let office = Office::open(&world, directory.path()).await;
    for key in [None, Some(""), Some("an operator's long kez")] {
        assert_eq!(office.ask(Method::POST, "/admin/backup", key).await, StatusCode::UNAUTHORIZED);
    }
    assert!(!directory.path().join("copies").exists(), "nothing was written");
    office.check(Method::POST, "/admin/backup", 201).await;

    let elsewhere = hex::encode(directory.path().to_string_lossy().as_bytes());
    for storage in [elsewhere.as_str(), "2f", "zz", "0x"] {
        let path = format!("/admin/{storage}/restore-backup?fileName=vault.sqlite");
        office.check(Method::POST, &path, 404).await;
    }
    for name in ["..", "../vault.sqlite", "..%2fvault.sqlite", ".unfinished", "", "a%00", "%ff"] {
        let path = format!("/admin/{{storage}}/delete-backup?fileName={name}");
        office.check(Method::DELETE, &path, 400).await;
    }
    office.check(Method::POST, "/admin/{storage}/restore-backup", 400).await;
    office.check(Method::POST, "/admin/{storage}/restore-backup?fileName=none", 404).await;

    // What is no backup, or was sealed with another key, changes nothing.
    let me = world.requester.signer();
    let id = named(me.address(), "kept");
    assert_eq!(office.door.put(Method::POST, &id, "value", me).await.0, StatusCode::NO_CONTENT);
    let copies = directory.path().join("copies");
    std::fs::write(copies.join("text"), "no database").expect("writes");
    let strange = Store::open(&directory.path().join("strange.sqlite")).await.expect("opens");
    let other = KeySource::Command(["echo", &KEY.replace('9', "8")].map(str::to_owned).into());
    let stranger =
        world.vault(|config| (config.store, config.key) = (strange.clone(), other)).await;
    strange.copy_to(&copies.join("strange")).await.expect("copies");
    drop(stranger);
    for name in ["text", "strange"] {
        let path = format!("/admin/{{storage}}/restore-backup?fileName={name}");
        office.check(Method::POST, &path, 400).await;
    }
    let found = office.door.put(Method::POST, &id, "again", me).await.0;
    assert_eq!(found, StatusCode::CONFLICT, "what was kept is kept");
}

#[test]
fn an_operators_key_is_long_and_for_its_owner_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("key");
    let refused = |why: &str| {
        let error = Backups::read(&path, "copies".into()).err().expect("is refused");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(error.failure().code, "GM-7008");
        assert!(!error.to_string().contains("guess"), "what is in it is not repeated");
    };
    refused("No such file");
    std::fs::write(&path, "guess me\n").expect("writes");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let set = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode));
        set(0o644).expect("sets");
        refused("others may read it");
        set(0o600).expect("sets");
    }
    refused("too short");
    std::fs::write(&path, format!("{OPERATOR}\n")).expect("writes");
    let read = Backups::read(&path, "copies".into()).expect("is a key");
    assert_eq!(read.key.expose(), OPERATOR);
}
