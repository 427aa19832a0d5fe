//! What pages load beside their text: one style sheet, one script, one icon. Their names have their content in them, so that browsers
//! may keep them for ever and never show an old one.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// The addresses of what pages load.
#[derive(Debug)]
pub(super) struct Assets {
    pub(super) style: String,
    pub(super) script: String,
    pub(super) icon: String,
}

/// One file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asset {
    pub(super) media_type: &'static str,
    pub(super) content: &'static [u8],
}

const STYLE: Asset =
    Asset { media_type: "text/css; charset=utf-8", content: include_bytes!("../../../assets/style.css") };
const SCRIPT: Asset =
    Asset { media_type: "text/javascript; charset=utf-8", content: include_bytes!("../../../assets/script.js") };
const ICON: Asset = Asset { media_type: "image/svg+xml", content: include_bytes!("../../../assets/icon.svg") };

static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: address("style", &STYLE, "css"),
    script: address("script", &SCRIPT, "js"),
    icon: address("icon", &ICON, "svg"),
});

/// Returns the addresses.
pub(super) fn addresses() -> &'static Assets {
    &ASSETS
}

/// Returns what has an address.
pub(super) fn find(path: &str) -> Option<Asset> {
    [(&ASSETS.style, STYLE), (&ASSETS.script, SCRIPT), (&ASSETS.icon, ICON)]
        .into_iter()
        .find_map(|(address, asset)| (address == path).then_some(asset))
}

fn address(name: &str, asset: &Asset, ending: &str) -> String {
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(asset.content)[..8]);
    format!("/assets/{name}.{hash}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_there_and_nothing_else() {
        let Assets { style, script, icon } = addresses();
        for path in [style, script, icon] {
            assert!(find(path).is_some_and(|asset| !asset.content.is_empty()), "{path}");
        }
        assert!(find("/assets/style.css").is_none() && find("/assets/../Cargo.toml").is_none());
    }

    #[test]
    fn the_script_is_small_and_loads_nothing_from_elsewhere() {
        assert!(SCRIPT.content.len() < 10 << 10, "{} bytes", SCRIPT.content.len());
        for asset in [SCRIPT, STYLE] {
            let text = std::str::from_utf8(asset.content).unwrap();
            for foreign in ["http:", "https:", "//cdn", "@import", "url(", "eval(", "innerHTML = `"] {
                assert!(!text.contains(foreign), "{foreign}");
            }
        }
    }
}
