//! Names that the documentation has and this version does not. They are refused like a typing mistake, in other words: what is
//! silently ignored would be missed only when it is needed.

/// Returns whether `name` is planned for the host's configuration; for the arguments see
/// [`Planned`](crate::document::Planned).
pub(super) fn in_config(path: &[&str], kind: Option<&str>, name: &str) -> bool {
    match path {
        [] => name == "cluster",
        ["bots", _, path @ ..] => in_bot_file(path, kind, name),
        // The connector that it gives to each of its bots.
        ["offers", _, "connector", path @ ..] => in_connectors(&[&["connectors", "X"], path].concat(), kind, name),
        path => in_connectors(path, kind, name),
    }
}

/// Returns whether `name` is planned for a bot's own file.
pub(super) fn in_bot_file(path: &[&str], kind: Option<&str>, name: &str) -> bool {
    in_connectors(path, kind, name)
}

fn in_connectors(path: &[&str], kind: Option<&str>, name: &str) -> bool {
    // In the terminal of this process there is nothing to go through.
    matches!((path, kind), (["connectors", _], Some(kind)) if kind != "console" && name == "proxy")
}
