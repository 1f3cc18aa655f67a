// SPDX-License-Identifier: MIT OR Apache-2.0
use oxtree_testkit::Tool;

use super::parse;
use jiff::Timestamp;
use jiff::Zoned;
use jiff::civil::date;
use jiff::tz::TimeZone;

/// What date(1) makes of the same text.
fn real_date(text: &str, zone: &str) -> Option<i64> {
    let date = Tool::new("/usr/bin/date").env("TZ", zone);
    let output = date.run(["-d", text, "+%s"]);
    (output.code == Some(0)).then(|| output.stdout().trim().parse().unwrap())
}

fn zoned(zone: &str) -> Zoned {
    let moment = date(2026, 1, 31).at(12, 30, 5, 0);
    moment.to_zoned(TimeZone::get(zone).unwrap()).unwrap()
}

#[test]
fn absolute_dates_as_date_reads_them() {
    let texts = [
        "@0",
        "@1767323045",
        "@-5",
        "@1.5",
        "@-1.5",
        "2026-01-02",
        "2026-01-02 03:04",
        "2026-01-02 03:04:05",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05+01:00",
        "2026-01-02 03:04:05 -0530",
        "2026-01-02 03:04:05.678 +02",
        "2026-01-02T03:04:05,25Z",
        "20260102",
        "20260102 0304",
        "1/2/2026",
        "2026/1/2",
        "1/2/26",
        "2 Jan 2026",
        "2-Jan-2026",
        "January 2, 2026",
        "Fri, 02 Jan 2026 03:04:05 -0700",
        "Fri Jan  2 03:04:05 UTC 2026",
        "Fri Jan  2 03:04:05 PM EST 2026",
        "2026-01-02 3pm",
        "2026-01-02 12am",
        "2026-01-02 12:30 pm",
        "2026-07-01 12:00 UTC+2",
        "2026-01-31 +1 month",
        "2026-01-31 1 month ago",
        "2026-03-01 yesterday",
        "2026-01-02 12:00 2 days ago",
        "2026-01-02 +2 weeks -3 hours",
        "2026-01-02 next year",
        "2024-02-29 1 year",
        "2026-01-02 00:00 fortnight",
        "2026-03-29 03:30",
        "TOMORROW 2026-01-02",
        "2026-01-02 last month",
        "1999-12-31 23:59:60",
        "2026-01-02 mon",
    ];
    for zone in ["UTC", "Europe/Berlin", "America/New_York"] {
        let now = zoned(zone);
        for text in texts {
            let ours = parse(text, &now).ok().map(Timestamp::as_second);
            assert_eq!(ours, real_date(text, zone), "{text} in {zone}");
        }
    }
}

#[test]
fn what_is_none() {
    let now = zoned("UTC");
    for text in [
        "@",
        "@x",
        "@1.x",
        "bogus",
        "2026-13-01",
        "2026-02-30",
        "25:00",
        "12:60",
        "2026-01-02x",
        "2026-01-02 2026-01-03",
        "12:00 13:00",
        "1 2 3 4 5",
        "2026-01-02T",
        "-",
        "+ days",
        "99999999999999999999",
        "9223372036854775807 days",
        "ä",
        "12:00:00.",
        "13pm",
        "last",
        "9223372036854775807 years ago",
        "@9223372036854775807",
    ] {
        assert!(parse(text, &now).is_err(), "{text} parses");
    }
}

#[test]
fn shifts_from_now() {
    let now = zoned("UTC");
    let at = |text| parse(text, &now).unwrap().to_string();
    assert_eq!(at("now"), "2026-01-31T12:30:05Z");
    assert_eq!(at("today"), at("now"));
    assert_eq!(at(""), "2026-01-31T00:00:00Z");
    assert_eq!(at("yesterday"), "2026-01-30T12:30:05Z");
    assert_eq!(at("2 days ago"), "2026-01-29T12:30:05Z");
    assert_eq!(at("1 hour ago"), "2026-01-31T11:30:05Z");
    assert_eq!(at("-90 min"), "2026-01-31T11:00:05Z");
    assert_eq!(at("next month"), "2026-03-03T12:30:05Z");
    assert_eq!(at("yesterday 09:00"), "2026-01-30T09:00:00Z");
    // The 31st is a Saturday.
    assert_eq!(at("saturday"), "2026-01-31T00:00:00Z");
    assert_eq!(at("sun"), "2026-02-01T00:00:00Z");
    assert_eq!(at("next sat"), "2026-02-07T00:00:00Z");
    assert_eq!(at("last friday"), "2026-01-30T00:00:00Z");
    assert_eq!(at("Nov 3"), "2026-11-03T00:00:00Z");
}

#[test]
fn any_text_is_taken_without_panic() {
    let now = zoned("Europe/Berlin");
    let pieces = [
        "1", "99", "2026", "-", ":", "/", " ", "T", "jan", "days", "ago", "+", "é", ".",
    ];
    for a in pieces {
        for b in pieces {
            for c in pieces {
                for d in pieces {
                    let _ = parse(&format!("{a}{b}{c}{d}"), &now);
                }
            }
        }
    }
}

#[test]
fn ages() {
    let now: Zoned = "2026-11-22T12:00:00[UTC]".parse().unwrap();
    let day = 86_400;
    for (text, seconds) in [
        ("2 days", 2 * day),
        ("2 days ago", 2 * day),
        ("36h", day * 3 / 2),
        ("2w", 14 * day),
        ("90m", 5400),
        ("0s", 0),
        ("now", 0),
        ("2026-11-21 12:00", day),
    ] {
        assert_eq!(super::age(text, &now).unwrap().as_secs(), seconds, "{text}");
    }
    for text in [
        "",
        "x",
        "5y",
        "99999999999999999999d",
        "18446744073709551615w",
    ] {
        assert!(super::age(text, &now).is_err(), "{text}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    let now = zoned("UTC");
    for text in [
        "@-9223372036854775808.5",
        "@9223372036854775807",
        "@99999999999999999999",
        "2026-01-02é",
        "2026-01-02\u{2028}1",
        "9999-12-31 +99999 years",
        "99999999999 days ago",
        "-9223372036854775808 years",
        "0000-00-00",
    ] {
        assert!(parse(text, &now).is_err(), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_date_or_not(text in "[-+@0-9a-zé:./, ]{0,24}", words in "(@?-?[0-9]{1,20}|[0-9]{4}-[0-9]{2}-[0-9]{2}|year|days? ago|last|[Tt]| |é|\\+)*") {
        let now = zoned("UTC");
        let _ = (parse(&text, &now), super::age(&text, &now));
        let _ = (parse(&words, &now), super::age(&words, &now));
    }
}
