//! Tests of the book, as the admin side uses it.

use super::*;
use crate::access::{AccountChange, NewAccount, NewToken};

const PASSWORD: &str = "correct horse battery";

fn source() -> Option<Source> {
    Some(Source::V4([192, 0, 2, 1]))
}

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

async fn with_account(book: &Book, name: &str, role: Role, tenant: Option<&str>) -> Result<(), AccessError> {
    let tenant = tenant.map(|tenant| tenant.parse().unwrap());
    book.add_account(NewAccount { name: name.parse().unwrap(), password: secret(PASSWORD), role, tenant }).await
}

async fn with_token(book: &Book, name: &str, expires_at: Option<Timestamp>) -> Result<Key, AccessError> {
    let tenant = Some("acme".parse().unwrap());
    book.create_token(NewToken { name: name.parse().unwrap(), role: Role::Operator, tenant, expires_at }).await
}

#[tokio::test]
async fn an_account_lets_in_with_its_password_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let book = Book::open(dir.path()).unwrap();
    assert!(!book.has_admin() && !book.lets_anybody_in());
    with_account(&book, "anna", Role::Admin, None).await.unwrap();
    let opened = book.sign_in("anna", &secret(PASSWORD), source()).await.unwrap();
    assert_eq!((&*opened.caller.name, opened.caller.role, opened.caller.way), ("anna", Role::Admin, Way::Session));
    let signed_in = book.by_session(opened.id.expose().as_bytes()).unwrap();
    assert_eq!(signed_in.caller, opened.caller);
    assert!(signed_in.csrf.matches(opened.csrf.expose().as_bytes()) && !signed_in.csrf.matches(b""));

    let book = Book::open(dir.path()).unwrap();
    assert!(book.has_admin() && book.by_session(opened.id.expose().as_bytes()).is_none(), "sessions end at a restart");
    book.sign_in("anna", &secret(PASSWORD), source()).await.unwrap();
    for (name, password) in [("anna", "correct horse batterx"), ("bert", PASSWORD), ("", PASSWORD), ("anna", "")] {
        let denied = book.sign_in(name, &secret(password), source()).await.unwrap_err();
        assert_eq!(denied, Denied::Wrong, "{name}");
    }
}

#[tokio::test]
async fn whoever_changes_an_account_ends_its_sessions() {
    let book = Book::absent();
    with_account(&book, "anna", Role::Admin, None).await.unwrap();
    let anna: AccountName = "anna".parse().unwrap();
    let change = |change: AccountChange| book.change_account(anna.clone(), change);
    let is_in = async |password: &str| book.sign_in("anna", &secret(password), None).await;
    let is_over = |opened: &Opened| book.by_session(opened.id.expose().as_bytes()).is_none();

    let opened = is_in(PASSWORD).await.unwrap();
    assert!(!is_over(&opened));
    change(AccountChange { role: Some(Role::Viewer), standing: None }).await.unwrap();
    assert!(is_over(&opened));

    let opened = is_in(PASSWORD).await.unwrap();
    assert_eq!(opened.caller.role, Role::Viewer);
    book.set_password(anna.clone(), secret("another long one")).await.unwrap();
    assert!(is_over(&opened));
    assert_eq!(is_in(PASSWORD).await.unwrap_err(), Denied::Wrong);

    let opened = is_in("another long one").await.unwrap();
    change(AccountChange { role: None, standing: Some(Standing::Disabled) }).await.unwrap();
    assert!(is_over(&opened));
    assert_eq!(is_in("another long one").await.unwrap_err(), Denied::Wrong);
    change(AccountChange { role: None, standing: Some(Standing::Enabled) }).await.unwrap();

    let opened = is_in("another long one").await.unwrap();
    book.remove_account(anna.clone()).await.unwrap();
    assert!(is_over(&opened) && book.accounts().is_empty());
    assert!(matches!(book.remove_account(anna).await, Err(AccessError::Absent { .. })));
}

#[tokio::test]
async fn a_token_is_shown_once_and_let_in_until_it_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let book = Book::open(dir.path()).unwrap();
    let key = with_token(&book, "ci", None).await.unwrap();
    let given = key.expose().as_bytes();
    assert!(key.expose().starts_with("bh_"));
    let written = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
    assert!(!written.contains(key.expose()), "only its digest is kept");
    assert_eq!(book.tokens()[0].2, None);
    let caller = book.by_token(given, source()).unwrap();
    assert_eq!((&*caller.name, caller.role, caller.way), ("token ci", Role::Operator, Way::Token));
    assert_eq!(caller.scope, Scope::Tenant("acme".parse().unwrap()));
    assert!(book.tokens()[0].2.is_some());
    let opened = book.sign_in_by_token(&secret(key.expose()), source()).unwrap();
    book.revoke_token("ci".parse().unwrap()).await.unwrap();
    assert_eq!(book.by_token(given, source()), Err(Denied::Wrong));
    assert!(book.by_session(opened.id.expose().as_bytes()).is_none());
    assert!(matches!(with_token(&book, "old", Some(Timestamp::from_millis(1))).await, Err(AccessError::Expired)));
}

#[test]
fn the_configuration_s_token_is_an_admin_of_the_host_and_another_one_ends_its_sessions() {
    let book = Book::absent();
    book.configure(Some(&secret("one")));
    let caller = book.by_token(b"one", source()).unwrap();
    assert!(caller.runs_host(Role::Admin) && &*caller.name == "token");
    let opened = book.sign_in_by_token(&secret("one"), source()).unwrap();
    book.configure(Some(&secret("one")));
    assert!(book.by_session(opened.id.expose().as_bytes()).is_some());
    book.configure(Some(&secret("two")));
    assert!(book.by_session(opened.id.expose().as_bytes()).is_none());
    assert_eq!(book.by_token(b"one", source()), Err(Denied::Wrong));
    book.configure(None);
    assert_eq!(book.by_token(b"two", source()), Err(Denied::Wrong));
}

#[tokio::test]
async fn who_guesses_too_often_waits_even_if_he_then_knows_it_and_the_socket_never_waits() {
    let book = Book::absent();
    book.configure(Some(&secret("right")));
    for guess in 0..10u8 {
        assert_eq!(book.by_token(&[guess], source()), Err(Denied::Wrong));
    }
    assert!(matches!(book.by_token(b"right", source()), Err(Denied::Later(_))));
    assert!(matches!(book.sign_in("anna", &secret(PASSWORD), source()).await, Err(Denied::Later(_))));
    assert!(book.by_token(b"right", Some(Source::V4([192, 0, 2, 2]))).is_ok());
    assert!(book.by_token(b"right", None).is_ok());
}

#[tokio::test]
async fn what_cannot_be_written_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let book = Book::open(dir.path()).unwrap();
    with_account(&book, "anna", Role::Admin, None).await.unwrap();
    // A directory in the way of the file, for a test that root may run as well.
    let aside = dir.path().join("aside");
    std::fs::rename(dir.path().join(FILE), &aside).unwrap();
    std::fs::create_dir_all(dir.path().join(FILE).join("x")).unwrap();
    let refused = with_account(&book, "bert", Role::Admin, None).await.unwrap_err();
    assert!(matches!(refused, AccessError::Disk { .. }), "{refused}");
    assert_eq!(book.accounts().len(), 1);
    assert!(matches!(with_account(&book, "t", Role::Admin, Some("acme")).await, Err(AccessError::Power(_))));
}
