//! What end-to-end cases and the demo are made of; no part of the product.
//!
//! Reading order: [`platform`] is a simulated SagooIOT that notes everything the real one could not
//! stand; [`rig`] starts the real processes around it: broker, Modbus devices, gateway;
//! [`demo`] shows the path to people.

pub mod demo;
pub mod platform;
pub mod rig;
