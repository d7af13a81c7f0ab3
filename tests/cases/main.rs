//! Every end-to-end case in one binary, so that the rig is linked once.
//!
//! Reading order: `path` is the main job both ways; `outages`, `answers`, `full_disk` and `crashes` take away
//! what it stands on, `clock` the time, `kills` many times at any moment (`campaign` says how often, and out of
//! which seed);
//! `reattach` is drivers that outlive their gateway, `reload` another configuration, `updates`
//! another version, `supervision` drivers in trouble, `packages` whom the gateway lets run; `neighbours`
//! keeps one bad thing one bad thing; `deadletters` are rows that are never answered, `services` functions
//! that are called; `lines` is what a line is asked and tells; `ledger`
//! is the account of samples, on a page of metrics too; `modbus` is what the driver
//! promises, against independent peers; `bad_input` and `security` are what outsiders bring; `stopping` is
//! the end; `layout` holds the arrows between the packages, `readme` what is told to people.

mod answers;
mod bad_input;
mod campaign;
mod clock;
mod crashes;
mod deadletters;
mod full_disk;
mod kills;
mod layout;
mod ledger;
mod lines;
mod modbus;
mod neighbours;
mod outages;
mod packages;
mod path;
mod readme;
mod reattach;
mod reload;
mod security;
mod services;
mod stopping;
mod supervision;
mod updates;
