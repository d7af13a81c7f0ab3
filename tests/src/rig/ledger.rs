//! Whether the accounts that status shows add up (design, promise 2).
//!
//! Always true: pure; an entry that is missing is an account that does not add up.

use serde_json::Value as Json;

/// A sum and what it is the sum of.
const IDENTITIES: [(&str, &[&str]); 2] = [
    ("read", &["suppressed", "dropped_by_driver", "stored"]),
    ("stored", &["acknowledged", "waiting", "evicted", "parked", "merged"]),
];

/// What does not add up in a status: in the account of each device, and in the sum of them all.
pub(super) fn unbalanced(status: &Json) -> Vec<String> {
    let devices = status["devices"].as_array().into_iter().flatten();
    let accounts = devices.map(|device| (device["name"].as_str().unwrap_or_default(), &device["ledger"]));
    accounts
        .chain([("totals", &status["totals"])])
        .flat_map(|(name, ledger)| {
            IDENTITIES.iter().filter_map(move |identity| wrong(name, ledger, identity))
        })
        .collect()
}

fn wrong(name: &str, ledger: &Json, (sum, parts): &(&str, &[&str])) -> Option<String> {
    let entry = |entry: &&str| ledger[*entry].as_u64();
    let added = parts.iter().map(entry).sum::<Option<u64>>();
    let right = added.is_some() && added == entry(sum);
    (!right)
        .then(|| format!("the ledger of {name} does not add up: {sum} = {}: {ledger:#}", parts.join(" + ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_account_must_add_up() {
        let fine = json!({"read": 10, "suppressed": 3, "dropped_by_driver": 1, "stored": 6,
            "acknowledged": 2, "waiting": 1, "evicted": 1, "parked": 1, "merged": 1});
        let status = |ledger: &Json| json!({"devices": [{"name": "a", "ledger": ledger}], "totals": fine});
        assert_eq!(unbalanced(&status(&fine)), Vec::<String>::new());
        for entry in ["read", "suppressed", "stored", "waiting", "merged"] {
            let mut odd = fine.clone();
            odd[entry] = json!(odd[entry].as_u64().unwrap() + 1);
            let told = unbalanced(&status(&odd));
            assert!(!told.is_empty() && told[0].contains("ledger of a "), "{entry}: {told:?}");
        }
        assert_eq!(unbalanced(&json!({})).len(), 2, "no account is none that adds up");
    }
}
