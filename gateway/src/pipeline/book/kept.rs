//! The account as it is kept in the buffer's cursor, so that it survives a kill.
//!
//! Always true: what is restored balances as what was kept did, or does not by as much; what waited is
//! missing until the scan of the buffer has found it.

use std::collections::BTreeMap;

use prost::Message;
use sagoo_edge_buffer::MAX_DETAIL;

use super::ahead::{MAX_KEPT_BYTES, Ranges, least_kept};
use super::{Account, Begun, Book};
use crate::pipeline::taken::{KeptProcess, Taken};
use crate::status::{Evicted, Ledger, Restart};

#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(message, repeated, tag = "1")]
    accounts: Vec<KeptAccount>,
    #[prost(message, repeated, tag = "2")]
    processes: Vec<KeptProcess>,
    /// Records below it are in the totals.
    #[prost(uint64, tag = "3")]
    head: u64,
    #[prost(string, tag = "4")]
    boot_id: String,
    #[prost(bool, tag = "5")]
    stopped: bool,
    #[prost(message, optional, tag = "6")]
    restart: Option<KeptRestart>,
}

#[derive(Clone, PartialEq, Message)]
struct KeptRestart {
    #[prost(string, tag = "1")]
    cause: String,
    #[prost(sint64, tag = "2")]
    wall_ms: i64,
    #[prost(uint64, tag = "3")]
    missing_samples: u64,
}

#[derive(Clone, PartialEq, Message)]
struct KeptAccount {
    #[prost(string, tag = "1")]
    device: String,
    #[prost(uint64, tag = "2")]
    position: u64,
    #[prost(uint64, tag = "3")]
    suppressed: u64,
    #[prost(uint64, tag = "4")]
    dropped_by_driver: u64,
    #[prost(uint64, tag = "5")]
    acknowledged: u64,
    #[prost(uint64, tag = "6")]
    evicted_full: u64,
    #[prost(uint64, tag = "7")]
    parked: u64,
    #[prost(uint64, tag = "8")]
    merged: u64,
    /// Places in `processes` of those that `dropped_totals` are of.
    #[prost(uint32, repeated, tag = "9")]
    dropped_of: Vec<u32>,
    #[prost(uint64, repeated, tag = "10")]
    dropped_totals: Vec<u64>,
    #[prost(uint64, tag = "11")]
    evicted_damaged: u64,
    #[prost(uint64, tag = "12")]
    evicted_too_large: u64,
    #[prost(uint64, tag = "13")]
    waiting: u64,
    /// What the identities are off by, which a restart does not make good.
    #[prost(sint64, tag = "14")]
    read_off: i64,
    #[prost(sint64, tag = "15")]
    stored_off: i64,
    #[prost(uint64, tag = "16")]
    evicted_unwritten: u64,
    #[prost(bool, tag = "17")]
    doubted: bool,
    /// Ranges answered before their turn, see [`super::ahead`].
    #[prost(uint64, repeated, tag = "18")]
    ahead: Vec<u64>,
}

impl Book {
    /// From a cursor; an unreadable detail means that nothing is known to be settled.
    pub fn restore(floor: u64, detail: &[u8]) -> Self {
        let kept = Detail::decode(detail).unwrap_or_default();
        let dropped = kept.accounts.iter().map(|account| {
            let totals = account.dropped_of.iter().copied().zip(account.dropped_totals.iter().copied());
            (account.device.as_str().into(), totals.collect())
        });
        let taken = Taken::restore(kept.processes, &dropped.collect::<Vec<_>>());
        let accounts = kept.accounts.into_iter().map(|kept| (kept.device.as_str().into(), kept.account()));
        let begun = Begun { head: kept.head, boot_id: kept.boot_id, stopped: kept.stopped };
        let restart = kept.restart.map(|kept| Restart {
            cause: kept.cause,
            wall_ms: kept.wall_ms,
            missing_samples: kept.missing_samples,
        });
        Self { accounts: accounts.collect(), segments: BTreeMap::new(), floor, taken, begun, restart }
    }

    /// For the cursor: everything below `head` is in the totals; `stopped`: nothing follows, and all of it
    /// is on the disk.
    pub fn detail(&self, head: u64, boot_id: &str, stopped: bool) -> Vec<u8> {
        let mut accounts: Vec<KeptAccount> = self
            .accounts
            .iter()
            .map(|(device, account)| {
                let ledger = &account.balance();
                let (dropped_of, dropped_totals) = self.taken.kept_dropped(device).into_iter().unzip();
                KeptAccount {
                    dropped_of,
                    dropped_totals,
                    device: device.to_string(),
                    position: account.position,
                    suppressed: ledger.suppressed,
                    dropped_by_driver: ledger.dropped_by_driver,
                    acknowledged: ledger.acknowledged,
                    evicted_full: ledger.evicted_full,
                    evicted_damaged: ledger.evicted_damaged,
                    evicted_too_large: ledger.evicted_too_large,
                    evicted_unwritten: ledger.evicted_unwritten,
                    ahead: Vec::new(),
                    parked: ledger.parked,
                    merged: ledger.merged,
                    waiting: ledger.waiting,
                    read_off: ledger.read_off(),
                    stored_off: ledger.stored_off(),
                    doubted: account.doubted,
                }
            })
            .collect();
        accounts.sort_by(|a, b| a.device.cmp(&b.device));
        let number = |name: &str| {
            let found = accounts.binary_search_by(|account| account.device.as_str().cmp(name));
            found.ok().map(|number| number as u32)
        };
        let processes = self.taken.kept(number);
        let restart = self.restart.as_ref().map(|restart| KeptRestart {
            cause: restart.cause.clone(),
            wall_ms: restart.wall_ms,
            missing_samples: restart.missing_samples,
        });
        let mut detail = Detail { accounts, processes, head, boot_id: boot_id.to_owned(), stopped, restart };
        // what has no room left is sent again after a kill
        let room = MAX_DETAIL.saturating_sub(detail.encoded_len()).min(MAX_KEPT_BYTES);
        let least = least_kept(self.accounts.values(), room);
        for kept in &mut detail.accounts {
            let account = self.accounts.get(kept.device.as_str());
            kept.ahead = account.map(|known| known.ahead.kept(known.position, least)).unwrap_or_default();
        }
        detail.encode_to_vec()
    }
}

impl KeptAccount {
    /// Everything that waited is missing until the scan finds it.
    fn account(self) -> Account {
        let mut ledger = Ledger {
            suppressed: self.suppressed,
            dropped_by_driver: self.dropped_by_driver,
            acknowledged: self.acknowledged,
            parked: self.parked,
            merged: self.merged,
            ..Ledger::default()
        };
        ledger.evict(Evicted::Full, self.evicted_full);
        ledger.evict(Evicted::Damaged, self.evicted_damaged);
        ledger.evict(Evicted::TooLarge, self.evicted_too_large);
        ledger.evict(Evicted::Unwritten, self.evicted_unwritten);
        let settled = ledger.acknowledged + ledger.evicted + ledger.parked + ledger.merged;
        ledger.stored = (settled + self.waiting).saturating_add_signed(self.stored_off);
        let accounted = ledger.suppressed + ledger.dropped_by_driver + ledger.stored;
        ledger.read = accounted.saturating_add_signed(self.read_off);
        let missing = i64::try_from(self.waiting).unwrap_or(i64::MAX);
        let (position, doubted) = (self.position, self.doubted);
        let ahead = Ranges::restore(position, &self.ahead);
        Account { position, ahead, ledger, missing, doubted, ..Account::default() }
    }
}
