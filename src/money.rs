//! How much, of what? Money in minor units, currencies with their exponents, exact decimals.
//!
//! Never a float, never an unchecked sum.

use std::fmt;
use std::sync::LazyLock;

/// BOUND: 10^12 minor units (ten thousand million dollars): above it a number is a mistake, below it
/// sums over any window stay far inside an `i64`.
pub const MINOR_UNITS_MAX: i64 = 1_000_000_000_000;

/// An ISO 4217 currency, upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

// ISO 4217 list one: every active code whose minor unit is not two digits.
const EXPONENTS: &[(&str, u32)] = &[
    ("BIF", 0),
    ("CLP", 0),
    ("DJF", 0),
    ("GNF", 0),
    ("ISK", 0),
    ("JPY", 0),
    ("KMF", 0),
    ("KRW", 0),
    ("PYG", 0),
    ("RWF", 0),
    ("UGX", 0),
    ("UYI", 0),
    ("VND", 0),
    ("VUV", 0),
    ("XAF", 0),
    ("XOF", 0),
    ("XPF", 0),
    ("BHD", 3),
    ("IQD", 3),
    ("JOD", 3),
    ("KWD", 3),
    ("LYD", 3),
    ("OMR", 3),
    ("TND", 3),
    ("CLF", 4),
    ("UYW", 4),
];

const TWO_DIGITS: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD \
BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD \
FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK \
LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR \
NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC \
SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";

/// Every code, in order: a budget's row names one in each of its hundred places.
static CODES: LazyLock<Vec<[u8; 3]>> = LazyLock::new(|| {
    let names = EXPONENTS.iter().map(|(name, _)| *name).chain(TWO_DIGITS.split(' '));
    let mut codes: Vec<[u8; 3]> =
        names.filter_map(|name| name.as_bytes().try_into().ok()).collect();
    codes.sort_unstable();
    codes
});

impl Currency {
    /// United States dollars.
    pub const USD: Self = Self(*b"USD");

    /// Reads a code in either letter case; `None` when ISO 4217 has no such currency.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 3] = text.as_bytes().try_into().ok()?;
        let upper = bytes.map(|b| b.to_ascii_uppercase());
        CODES.binary_search(&upper).is_ok().then_some(Self(upper))
    }

    /// Its code, upper case.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    /// Digits behind the point: 2 for USD, 0 for JPY, 3 for KWD.
    pub fn exponent(&self) -> u32 {
        EXPONENTS.iter().find(|(name, _)| *name == self.code()).map_or(2, |(_, digits)| *digits)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount: minor units (cents) of a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// How many of the currency's smallest unit.
    pub minor: i64,
    /// Of what.
    pub currency: Currency,
}

impl Money {
    /// Reads `100.00 USD`: a decimal with no more digits than the currency has, one blank, a code.
    ///
    /// # Errors
    ///
    /// What was expected, for a person who wrote a configuration.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (number, code) =
            text.split_once(' ').ok_or("expected an amount and a currency, as `100.00 USD`")?;
        let currency = Currency::parse(code)
            .ok_or_else(|| format!("`{code}` is no ISO 4217 currency; expected one as `USD`"))?;
        let decimal = Decimal::parse(number)
            .map_err(|_| format!("`{number}` is no amount; expected one as `100.00`"))?;
        let minor = decimal.to_minor(currency.exponent()).ok_or_else(|| {
            let digits = currency.exponent();
            format!(
                "`{number}` does not fit {currency}, which has {digits} digits behind the point"
            )
        })?;
        Ok(Self { minor, currency })
    }
}

impl fmt::Display for Money {
    /// `100.00 USD`, `500 JPY`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.currency.exponent();
        let number = Decimal { mantissa: i128::from(self.minor), scale: digits };
        write!(f, "{} {}", number.fixed(), self.currency)
    }
}

/// What a call costs, in millionths of a currency's own unit: calls to a model or a search cost less than a
/// cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Price {
    /// Millionths of a dollar, a yen, ..; never negative.
    pub micro: i64,
    /// Of what.
    pub currency: Currency,
}

impl Price {
    /// Reads `0.002 USD`: up to six digits behind the point, in any currency.
    ///
    /// # Errors
    ///
    /// What was expected, for a person who wrote a configuration.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "expected a price as `0.002 USD`, with six digits behind the point at most and no \
                 sign, got `{text}`"
            )
        };
        let (number, code) = text.split_once(' ').ok_or_else(expected)?;
        let currency = Currency::parse(code)
            .ok_or_else(|| format!("`{code}` is no ISO 4217 currency; expected one as `USD`"))?;
        let decimal = Decimal::parse(number).map_err(|_| expected())?;
        let micro = decimal.to_minor(PRICE_DIGITS).filter(|m| (0..=MINOR_UNITS_MAX).contains(m));
        Ok(Self { micro: micro.ok_or_else(expected)?, currency })
    }

    /// An amount as prices are counted; `None` past what can be held.
    pub fn of(money: Money) -> Option<Self> {
        let more = PRICE_DIGITS.checked_sub(money.currency.exponent())?;
        let micro = money.minor.checked_mul(10_i64.checked_pow(more)?)?;
        Some(Self { micro, currency: money.currency })
    }
}

impl fmt::Display for Price {
    /// `0.002 USD`, `2 USD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = Decimal { mantissa: i128::from(self.micro), scale: PRICE_DIGITS }.fixed();
        let short = number.trim_end_matches('0').trim_end_matches('.');
        write!(f, "{short} {}", self.currency)
    }
}

/// Digits behind the point of a price: no currency has more than four.
const PRICE_DIGITS: u32 = 6;

/// An exact decimal: `mantissa / 10^scale`. Two are equal when they name the same number only after
/// [`Decimal::parse`], which keeps them in lowest form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// All its digits, signed.
    pub mantissa: i128,
    /// How many of them stand behind the point.
    pub scale: u32,
}

/// Why a text is no decimal that can be held exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not the grammar of RFC 8259 s6.
    #[error("not a number")]
    Syntax,
    /// More digits or a larger exponent than anything that is counted here needs.
    #[error("a number of more than 34 digits")]
    Size,
}

/// BOUND: IEEE 754 decimal128 has 34 digits; no amount or identifier needs more.
const DIGITS_MAX: usize = 34;

impl Decimal {
    /// Reads a JSON number (RFC 8259 s6) exactly: `100.0`, `1e2` and `100` are the same.
    ///
    /// # Errors
    ///
    /// When the text is not that grammar, or has too many digits to be held exactly.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (number, exponent) = match rest.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, read_exponent(exponent)?),
            None => (rest, 0),
        };
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(DecimalError::Syntax),
            None => (number, ""),
        };
        let digits_only = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || leading_zero || !digits_only(whole) || !digits_only(fraction) {
            return Err(DecimalError::Syntax);
        }
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0');
        let kept = significant.trim_end_matches('0');
        if kept.is_empty() {
            return Ok(Self { mantissa: 0, scale: 0 });
        }
        let length = |s: &str| i64::try_from(s.len()).unwrap_or(i64::MAX);
        // The number is `kept * 10^power`.
        let power = exponent
            .saturating_sub(length(fraction))
            .saturating_add(length(significant).saturating_sub(length(kept)));
        let mut decimal = Self::of_digits(kept, power).ok_or(DecimalError::Size)?;
        if negative {
            decimal.mantissa = decimal.mantissa.checked_neg().ok_or(DecimalError::Size)?;
        }
        Ok(decimal)
    }

    fn of_digits(digits: &str, power: i64) -> Option<Self> {
        let zeros = usize::try_from(power.max(0)).ok()?;
        if digits.len().checked_add(zeros)? > DIGITS_MAX {
            return None;
        }
        let ten = 10_i128.checked_pow(u32::try_from(zeros).ok()?)?;
        let mantissa = digits.parse::<i128>().ok()?.checked_mul(ten)?;
        let scale = u32::try_from(power.min(0).checked_neg()?).ok()?;
        let scale_fits = usize::try_from(scale).ok()? <= DIGITS_MAX;
        scale_fits.then_some(Self { mantissa, scale })
    }

    /// Whether it is a whole number.
    pub fn is_integer(&self) -> bool {
        self.scale == 0
    }

    /// The whole number it is.
    pub fn to_integer(&self) -> Option<i64> {
        if self.is_integer() { i64::try_from(self.mantissa).ok() } else { None }
    }

    /// Minor units of a currency with `exponent` digits: `12.5` with 2 is 1250. `None` when a
    /// fraction of a minor unit would be lost.
    pub fn to_minor(&self, exponent: u32) -> Option<i64> {
        let more = exponent.checked_sub(self.scale)?;
        i64::try_from(self.mantissa.checked_mul(10_i128.checked_pow(more)?)?).ok()
    }

    /// All its digits, those behind the point included even when they are zero.
    fn fixed(&self) -> String {
        let width = usize::try_from(self.scale).unwrap_or(0);
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = format!("{:0>1$}", self.mantissa.unsigned_abs(), width.saturating_add(1));
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(width));
        if fraction.is_empty() {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{fraction}")
        }
    }
}

fn read_exponent(text: &str) -> Result<i64, DecimalError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DecimalError::Syntax);
    }
    // BOUND: four digits of exponent; 10^400 is refused by its digits, 10^99999 here.
    let significant = digits.trim_start_matches('0');
    if significant.len() > 4 {
        return Err(DecimalError::Size);
    }
    let size = if significant.is_empty() {
        0
    } else {
        significant.parse().map_err(|_| DecimalError::Size)?
    };
    Ok(if text.starts_with('-') { 0_i64.saturating_sub(size) } else { size })
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fixed())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn a_currency_is_one_of_iso_4217() {
        for (text, code, digits) in [
            ("USD", "USD", 2),
            ("usd", "USD", 2),
            ("jPy", "JPY", 0),
            ("KRW", "KRW", 0),
            ("ISK", "ISK", 0),
            ("KWD", "KWD", 3),
            ("bhd", "BHD", 3),
            ("CLF", "CLF", 4),
            ("EUR", "EUR", 2),
        ] {
            let currency = Currency::parse(text).unwrap();
            assert_eq!((currency.code(), currency.exponent()), (code, digits));
        }
        for text in ["", "US", "USDC", "XXX", "ABC", "US ", " USD", "U D", "ÜSD", "BTC", "D A"] {
            assert_eq!(Currency::parse(text), None, "{text}");
        }
    }

    #[test]
    fn money_is_written_with_the_digits_of_its_currency() {
        for (text, minor, shown) in [
            ("100.00 USD", 10_000, "100.00 USD"),
            ("100 usd", 10_000, "100.00 USD"),
            ("0.5 USD", 50, "0.50 USD"),
            ("0.05 USD", 5, "0.05 USD"),
            ("500 JPY", 500, "500 JPY"),
            ("500.0 JPY", 500, "500 JPY"),
            ("1.234 KWD", 1234, "1.234 KWD"),
            ("0 EUR", 0, "0.00 EUR"),
        ] {
            let money = Money::parse(text).unwrap();
            assert_eq!((money.minor, &*money.to_string()), (minor, shown));
        }
        let debt = Money { minor: -5, currency: Currency::parse("USD").unwrap() };
        assert_eq!(debt.to_string(), "-0.05 USD");
        for (text, part) in [
            ("100", "an amount and a currency"),
            ("100.00  USD", "no ISO 4217 currency"),
            ("100.00 XYZ", "no ISO 4217 currency"),
            ("1.001 USD", "2 digits"),
            ("0.5 JPY", "0 digits"),
            ("1,00 USD", "no amount"),
            ("USD 100", "no ISO 4217 currency"),
            ("99999999999999999999 USD", "does not fit"),
        ] {
            assert!(Money::parse(text).unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn a_price_is_exact_below_a_cent() {
        for (text, micro, shown) in [
            ("0.002 USD", 2_000, "0.002 USD"),
            ("0.000001 usd", 1, "0.000001 USD"),
            ("10 JPY", 10_000_000, "10 JPY"),
            ("0.5 JPY", 500_000, "0.5 JPY"),
            ("0 EUR", 0, "0 EUR"),
        ] {
            let price = Price::parse(text).unwrap();
            assert_eq!((price.micro, &*price.to_string()), (micro, shown));
        }
        for text in ["0.0000001 USD", "-0.01 USD", "1000001 USD", "USD", "1 XYZ", "x USD"] {
            assert!(Price::parse(text).is_err(), "{text}");
        }
        for (text, micro) in [("2.00 USD", 2_000_000), ("3 JPY", 3_000_000), ("0.001 KWD", 1_000)] {
            assert_eq!(Price::of(Money::parse(text).unwrap()).unwrap().micro, micro, "{text}");
        }
        let most = Money { minor: i64::MAX, currency: Currency::parse("JPY").unwrap() };
        assert_eq!(Price::of(most), None);
    }

    #[test]
    fn a_decimal_is_exact_and_in_lowest_form() {
        let nines = "9".repeat(34);
        for (text, mantissa, scale, shown) in [
            ("0", 0, 0, "0"),
            ("-0.00", 0, 0, "0"),
            ("0e9", 0, 0, "0"),
            ("100", 100, 0, "100"),
            ("100.0", 100, 0, "100"),
            ("1e2", 100, 0, "100"),
            ("1E+02", 100, 0, "100"),
            ("10e-1", 1, 0, "1"),
            ("12.50", 125, 1, "12.5"),
            ("-0.05", -5, 2, "-0.05"),
            ("125e-3", 125, 3, "0.125"),
            ("0.1e1", 1, 0, "1"),
            ("1e33", 10_i128.pow(33), 0, "1000000000000000000000000000000000"),
            ("1e-34", 1, 34, "0.0000000000000000000000000000000001"),
            (&*nines, 10_i128.pow(34) - 1, 0, &*nines),
        ] {
            let decimal = Decimal::parse(text).unwrap();
            assert_eq!((decimal.mantissa, decimal.scale), (mantissa, scale), "{text}");
            assert_eq!(decimal.to_string(), shown);
        }
        let syntax = [
            "", "-", "+1", ".5", "5.", "01", "-01", "1e", "1e+", "1.e1", "e5", "--1", "1e1.5",
            "1e5e5", "1.2.3", " 1", "1 ", "1_0", "0x1", "NaN", "١", "1-",
        ];
        for text in syntax {
            assert_eq!(Decimal::parse(text), Err(DecimalError::Syntax), "{text}");
        }
        let long = "1".repeat(35);
        for text in ["1e34", "1e400", "1e-35", "1e99999", "1e-99999", "0e99999", &long] {
            assert_eq!(Decimal::parse(text), Err(DecimalError::Size), "{text}");
        }
    }

    #[test]
    fn no_fraction_of_a_minor_unit_is_lost() {
        for (text, exponent, minor) in [
            ("12.5", 2, Some(1250)),
            ("12", 0, Some(12)),
            ("12.50", 1, Some(125)),
            ("-0.01", 2, Some(-1)),
            ("12.505", 2, None),
            ("0.5", 0, None),
            ("1e18", 2, None),
            ("9223372036854775807", 0, Some(i64::MAX)),
            ("9223372036854775808", 0, None),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().to_minor(exponent), minor, "{text}");
        }
        assert_eq!(Decimal::parse("100.0").unwrap().to_integer(), Some(100));
        assert_eq!(Decimal::parse("100.5").unwrap().to_integer(), None);
        assert_eq!(Decimal::parse("1e19").unwrap().to_integer(), None);
    }
}
