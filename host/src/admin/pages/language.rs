//! In which language somebody reads: what he chose, or else what his browser asks for. Pure.

use super::text::{CHINESE, ENGLISH, Text};

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Chinese,
}

impl Language {
    /// Returns what somebody chose, or else the language that his browser prefers; English where it prefers none of ours.
    pub(super) fn of(chosen: Option<&str>, accepted: Option<&str>) -> Self {
        chosen.and_then(Self::from_tag).or_else(|| preferred(accepted?)).unwrap_or(Self::English)
    }

    /// Returns the language that a tag names, such as `zh-CN`.
    pub(super) fn from_tag(tag: &str) -> Option<Self> {
        match tag.split('-').next().unwrap_or("").to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "zh" => Some(Self::Chinese),
            _ => None,
        }
    }

    /// Returns its tag for `lang`.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-Hans",
        }
    }

    /// Returns what it calls itself.
    pub(super) fn own_name(self) -> &'static str {
        self.text().language_is
    }

    /// Returns the one to switch to.
    pub(super) fn other(self) -> Self {
        match self {
            Self::English => Self::Chinese,
            Self::Chinese => Self::English,
        }
    }

    /// Returns its texts.
    pub(super) fn text(self) -> &'static Text {
        match self {
            Self::English => &ENGLISH,
            Self::Chinese => &CHINESE,
        }
    }
}

/// Returns the one of ours that `Accept-Language` weighs most, of equals the first.
fn preferred(accepted: &str) -> Option<Language> {
    let weighed = accepted.split(',').filter_map(|item| {
        let mut parts = item.trim().split(';');
        let language = Language::from_tag(parts.next()?.trim())?;
        let weight =
            parts.find_map(|part| part.trim().strip_prefix("q=")).map_or(Some(1.0), |text| text.parse().ok())?;
        (0.0 < weight && weight <= 1.0_f64).then_some((language, weight))
    });
    let best = weighed.fold(None::<(Language, f64)>, |best, (language, weight)| match best {
        Some((_, most)) if most >= weight => best,
        _ => Some((language, weight)),
    });
    best.map(|(language, _)| language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_counts_before_what_the_browser_prefers() {
        let cases = [
            (None, None, Language::English),
            (None, Some("zh-CN,zh;q=0.9,en;q=0.8"), Language::Chinese),
            (None, Some("en;q=0.5, zh-TW;q=0.7"), Language::Chinese),
            (None, Some("de, en;q=0.5, zh;q=0.5"), Language::English),
            (None, Some("zh;q=0, fr"), Language::English),
            (None, Some("zh;q=nonsense"), Language::English),
            (Some("en"), Some("zh"), Language::English),
            (Some("zh-Hans"), Some("en"), Language::Chinese),
            (Some("tlh"), Some("zh"), Language::Chinese),
        ];
        for (chosen, accepted, expected) in cases {
            assert_eq!(Language::of(chosen, accepted), expected, "{chosen:?} {accepted:?}");
        }
        for language in [Language::English, Language::Chinese] {
            assert_eq!(Language::from_tag(language.tag()), Some(language));
        }
    }
}
