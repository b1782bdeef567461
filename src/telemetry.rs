//! stub
#![expect(missing_docs, reason = "stands in until the module lands")]
use crate::{audit::Event, call::*, decision::Verdict, refusal::*, store::*};
use std::{sync::Arc, time::Duration};
#[derive(Debug, Clone, Copy)]
pub enum LogFormat {
    Json,
    Text,
    Off,
}
#[derive(Debug)]
pub struct Telemetry;
impl Telemetry {
    pub fn new(_: LogFormat) -> Self {
        Self
    }
    pub fn render(&self) -> String {
        String::new()
    }
    pub fn operations(&self, _: &[(&'static str, u64); 7]) {}
    pub fn freezes(&self, _: &[Freeze]) {}
    pub fn breaker(&self, _: &str, _: &str) {}
}
