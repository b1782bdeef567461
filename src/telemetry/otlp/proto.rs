//! How is a message laid out? Protobuf's wire format, as much of it as OTLP's spans and log lines need.
//!
//! Never reads any: a collector's answer is its status.

use super::Attribute;

/// A message that is being written.
pub(in crate::telemetry) struct Message<'o>(&'o mut Vec<u8>);

/// protobuf.dev/programming-guides/encoding, "Message Structure".
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

impl<'o> Message<'o> {
    /// Appends to `out`.
    pub(in crate::telemetry) fn on(out: &'o mut Vec<u8>) -> Self {
        Self(out)
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.varint((field << 3) | kind);
    }

    pub(in crate::telemetry) fn number(&mut self, field: u64, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    pub(in crate::telemetry) fn fixed_64(&mut self, field: u64, value: u64) {
        self.key(field, FIXED_64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(in crate::telemetry) fn fixed_32(&mut self, field: u64, value: u32) {
        self.key(field, FIXED_32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(in crate::telemetry) fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, LENGTH);
        self.varint(u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(value);
    }

    pub(in crate::telemetry) fn text(&mut self, field: u64, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    pub(in crate::telemetry) fn message(
        &mut self,
        field: u64,
        lay_out: impl FnOnce(&mut Message<'_>),
    ) {
        let mut inner = Vec::with_capacity(128);
        lay_out(&mut Message(&mut inner));
        self.bytes(field, &inner);
    }

    /// opentelemetry/proto/common/v1: KeyValue.
    pub(in crate::telemetry) fn attribute(
        &mut self,
        field: u64,
        name: &str,
        value: &Attribute<'_>,
    ) {
        self.message(field, |m| {
            m.text(1, name);
            m.message(2, |m| m.any(value));
        });
    }

    /// opentelemetry/proto/common/v1: AnyValue.
    pub(in crate::telemetry) fn any(&mut self, value: &Attribute<'_>) {
        match value {
            Attribute::Text(text) => self.text(1, text),
            Attribute::Own(text) => self.text(1, text),
            Attribute::Flag(flag) => self.number(2, u64::from(*flag)),
            Attribute::Number(number) => self.number(3, *number),
            Attribute::Texts(texts) => self.message(5, |m| {
                for text in texts {
                    m.message(1, |m| m.text(1, text));
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_laid_out_as_protobuf_has_them() {
        let mut out = Vec::new();
        let mut message = Message::on(&mut out);
        // The examples of the encoding guide.
        message.number(1, 150);
        message.text(2, "testing");
        message.number(1, u64::MAX);
        message.fixed_32(16, 1);
        assert_eq!(
            out,
            [
                &[0x08, 0x96, 0x01][..],
                &[0x12, 0x07],
                b"testing",
                &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                &[0x85, 0x01, 1, 0, 0, 0],
            ]
            .concat()
        );
    }
}
