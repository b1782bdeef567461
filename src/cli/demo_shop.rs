//! The demo's upstream: a small in-house shop with orders and refunds, described by
//! `config/packs/orders.yaml`. Money is a decimal string; refunds can be looked up by order.
//!
//! Trusts its caller entirely, as such services do: it is Tollhouse that judges.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::call::{Answer, Body, Request};
use crate::clock::Clock;
use crate::money::{Currency, Decimal, Money};

/// The key that only Tollhouse knows.
pub const KEY: &str = "shop-key-that-no-agent-sees";

/// The shop.
#[derive(Debug)]
pub struct Shop {
    clock: Clock,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    orders: Vec<Order>,
    refunds: Vec<Value>,
    messages: Vec<Value>,
}

#[derive(Debug)]
struct Order {
    id: &'static str,
    customer: &'static str,
    paid: Money,
    refunded: i64,
    status: &'static str,
    address: Value,
    placed_at: String,
}

impl Shop {
    /// A shop with orders of two customers, placed a few days ago.
    pub fn new(clock: Clock) -> Self {
        let now = clock.now();
        let days =
            |days: u64| now.minus(std::time::Duration::from_secs(days.saturating_mul(86_400)));
        let order = |id, customer, minor, age, status| Order {
            id,
            customer,
            paid: Money { minor, currency: usd() },
            refunded: 0,
            status,
            address: Value::Null,
            placed_at: days(age).to_string(),
        };
        let orders = vec![
            order("A-17", "ann", 8_000, 3, "paid"),
            order("A-18", "ann", 60_000, 9, "delivered"),
            order("A-19", "ann", 4_500, 45, "delivered"),
            order("B-20", "bob", 12_000, 2, "shipped"),
        ];
        Self {
            clock,
            books: Mutex::new(Books { orders, refunds: Vec::new(), messages: Vec::new() }),
        }
    }

    /// How many refunds there are of an order: what the demo shows at its end.
    pub fn refunds_of(&self, order: &str) -> usize {
        self.books.lock().refunds.iter().filter(|r| r["order"] == order).count()
    }

    /// Answers one request.
    pub fn answer(&self, request: &Request) -> Answer {
        let expected = format!("Bearer {KEY}");
        let sent = request.headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        if sent != Some(expected.as_str()) {
            return says(401, &json!({ "ok": false, "error": "who are you?" }));
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let filter = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(n, _)| *n == name)
                .map(|(_, v)| v)
        };
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let steps: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut books = self.books.lock();
        match (&request.method, steps.as_slice()) {
            (&Method::GET, ["orders"]) => books.list_orders(filter("customer")),
            (&Method::GET, ["orders", id]) => books.show_order(id),
            (&Method::PUT, ["orders", id, "address"]) => books.move_order(id, body),
            (&Method::POST, ["orders", id, "cancel"]) => books.cancel(id),
            (&Method::POST, ["refunds"]) => books.refund(&body, &self.clock.now().to_string()),
            (&Method::GET, ["refunds"]) => books.list_refunds(filter("order")),
            (&Method::GET, ["refunds", id]) => {
                found(books.refunds.iter().find(|r| r["id"] == *id).cloned())
            }
            (&Method::POST, ["messages"]) => books.write(&body, &self.clock.now().to_string()),
            (&Method::GET, ["products"]) => {
                says(200, &json!({ "data": [{ "id": "P-1", "name": "Lamp", "price": "45.00" }] }))
            }
            _ => found(None),
        }
    }
}

impl Books {
    fn order(&mut self, id: &str) -> Option<&mut Order> {
        self.orders.iter_mut().find(|order| order.id == id)
    }

    fn show_order(&mut self, id: &str) -> Answer {
        found(self.order(id).map(|order| order.shown()))
    }

    fn list_orders(&self, customer: Option<&str>) -> Answer {
        let mine = self.orders.iter().filter(|o| customer.is_none_or(|c| o.customer == c));
        says(200, &json!({ "data": mine.map(Order::shown).collect::<Vec<_>>() }))
    }

    fn list_refunds(&self, order: Option<&str>) -> Answer {
        let of = self.refunds.iter().filter(|r| order.is_none_or(|o| r["order"] == *o));
        says(200, &json!({ "data": of.collect::<Vec<_>>() }))
    }

    fn move_order(&mut self, id: &str, address: Value) -> Answer {
        found(self.order(id).map(|order| {
            order.address = address;
            order.shown()
        }))
    }

    fn cancel(&mut self, id: &str) -> Answer {
        found(self.order(id).map(|order| {
            order.status = "cancelled";
            order.refunded = order.paid.minor;
            order.shown()
        }))
    }

    fn refund(&mut self, body: &Value, now: &str) -> Answer {
        let number = self.refunds.len().saturating_add(1);
        let Some(order) = body["order"].as_str().and_then(|id| self.order(id)) else {
            return says(404, &json!({ "ok": false, "error": "no such order" }));
        };
        let remaining = order.paid.minor.saturating_sub(order.refunded);
        let asked = match body["amount"].as_str() {
            Some(text) => {
                Decimal::parse(text).ok().and_then(|d| d.to_minor(order.paid.currency.exponent()))
            }
            None => Some(remaining),
        };
        // This shop pays what it is told: it has no limit, and it forgets idempotency keys.
        let Some(minor) = asked else {
            return says(422, &json!({ "ok": false, "error": "no such amount" }));
        };
        order.refunded = order.refunded.saturating_add(minor);
        let refund = json!({
            "id": format!("R-{number}"),
            "order": order.id,
            "amount": money(minor).0,
            "currency": order.paid.currency.code(),
            "status": "succeeded",
            "created_at": now,
        });
        self.refunds.push(refund.clone());
        says(200, &refund)
    }

    fn write(&mut self, body: &Value, now: &str) -> Answer {
        let number = self.messages.len().saturating_add(1);
        let message = json!({
            "id": format!("M-{number}"), "order": body["order"], "to": body["to"],
            "status": "sent", "created_at": now,
        });
        self.messages.push(message.clone());
        says(200, &message)
    }
}

impl Order {
    fn shown(&self) -> Value {
        let (paid, currency) = money(self.paid.minor);
        json!({
            "id": self.id,
            "customer_ref": self.customer,
            "email": format!("{}@shop.example", self.customer),
            "total": { "value": paid, "currency": currency },
            "refunded": { "value": money(self.refunded).0, "currency": currency },
            "placed_at": self.placed_at,
            "status": self.status,
            "disputed": false,
            "address": self.address,
        })
    }
}

fn usd() -> Currency {
    Currency::USD
}

/// The decimal string of an amount, and its currency.
fn money(minor: i64) -> (String, &'static str) {
    let text = Money { minor, currency: usd() }.to_string();
    (text.split(' ').next().unwrap_or_default().to_owned(), "USD")
}

fn found(value: Option<Value>) -> Answer {
    match value {
        Some(value) => says(200, &value),
        None => says(404, &json!({ "ok": false, "error": "not found" })),
    }
}

fn says(status: u16, body: &Value) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Answer { status, reason: None, headers, body: Body::Whole(Bytes::from(body.to_string())) }
}
