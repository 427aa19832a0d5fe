//! Until when a certificate is good: the one thing that is read of it here, from its DER (RFC 5280, 4.1). Whether it is good for anything
//! else is for rustls to say.

use crate::clock::Timestamp;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Returns the `notAfter` of a certificate; none where it is not as RFC 5280 has it.
pub(super) fn ends_at(der: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = expect(SEQUENCE, der)?;
    let (signed, _) = expect(SEQUENCE, certificate)?;
    // The version stands there only where it is not the first.
    let rest = expect(VERSION, signed).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = expect(INTEGER, rest)?;
    let (_algorithm, rest) = expect(SEQUENCE, rest)?;
    let (_issuer, rest) = expect(SEQUENCE, rest)?;
    let (validity, _) = expect(SEQUENCE, rest)?;
    let (_, _, not_after) = element(validity)?;
    let (tag, text, _) = element(not_after)?;
    moment(tag, std::str::from_utf8(text).ok()?)
}

fn moment(tag: u8, text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match (tag, digits.len()) {
        // Two digits are of the years from 1950 to 2049.
        (UTC_TIME, 12) if &digits[..2] < "50" => (format!("20{}", &digits[..2]), &digits[2..]),
        (UTC_TIME, 12) => (format!("19{}", &digits[..2]), &digits[2..]),
        (GENERALIZED_TIME, 14) => (digits[..4].to_owned(), &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| &rest[at..at + 2];
    format!("{year}-{}-{}T{}:{}:{}Z", part(0), part(2), part(4), part(6), part(8)).parse().ok()
}

fn expect(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(der)?;
    (found == tag).then_some((content, rest))
}

/// Splits off the first element: its tag, its content, and what comes after.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        short if short < 0x80 => (usize::from(short), rest),
        // A certificate has no element whose length takes more than four bytes.
        long @ 0x81..=0x84 => {
            let (len, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1999, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_either_of_its_forms() {
        for (year, expected) in
            [(1999, "1999-12-31T00:00:00Z"), (2049, "2049-12-31T00:00:00Z"), (2050, "2050-12-31T00:00:00Z")]
        {
            assert_eq!(ends_at(&certificate(year)).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn no_piece_of_one_and_no_other_bytes_do_any_harm() {
        let good = certificate(2060);
        for len in 0..good.len() {
            assert_eq!(ends_at(&good[..len]), None, "{len} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = 0xff;
            // Whatever it says, it does not panic.
            let _ = ends_at(&bad);
        }
        assert_eq!(moment(UTC_TIME, "991399000000Z"), None);
        assert_eq!(moment(UTC_TIME, "é99130000000Z"), None);
    }
}
