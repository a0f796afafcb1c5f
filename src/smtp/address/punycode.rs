//! The encoder of RFC 3492, which makes the A-label of a U-label.
//!
//! Only this direction is needed: every check works on A-labels, and what a client wrote in
//! U-labels is shown as it was written.

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 0x80;

/// The label in Punycode without the `xn--`, or none if that is longer than `max` octets. The label
/// is taken as it is; the caller has made it lower case.
///
/// Each character gives at least one octet, so a label of more than `max` characters is refused
/// unread; that bounds the loops at `max` squared and keeps the numbers far below 2^32.
pub(super) fn encode(label: &str, max: usize) -> Option<String> {
    let total = label.chars().take(max + 1).count();
    if total > max {
        return None;
    }
    let mut output: String = label.chars().filter(char::is_ascii).collect();
    let basic = output.len();
    let mut handled = basic;
    if basic > 0 {
        output.push('-');
    }
    let (mut n, mut delta, mut bias) = (INITIAL_N, 0u32, INITIAL_BIAS);
    while handled < total {
        let next = label.chars().map(u32::from).filter(|&code| code >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(u32::try_from(handled).ok()? + 1)?)?;
        n = next;
        for code in label.chars().map(u32::from) {
            if code < n {
                delta += 1;
            } else if code == n {
                push_number(&mut output, delta, bias);
                if output.len() > max {
                    return None;
                }
                bias = adapt(delta, u32::try_from(handled).ok()? + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta += 1;
        n += 1;
    }
    (output.len() <= max).then_some(output)
}

/// Appends a generalised variable-length integer (RFC 3492 section 3.3).
fn push_number(output: &mut String, number: u32, bias: u32) {
    let mut rest = number;
    let mut k = BASE;
    loop {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if rest < threshold {
            output.push(digit(rest));
            return;
        }
        output.push(digit(threshold + (rest - threshold) % (BASE - threshold)));
        rest = (rest - threshold) / (BASE - threshold);
        k += BASE;
    }
}

/// `a` to `z` are 0 to 25, `0` to `9` are 26 to 35.
fn digit(value: u32) -> char {
    char::from_digit((value + 10) % BASE, BASE).unwrap_or('0')
}

/// The next bias (RFC 3492 section 6.1).
fn adapt(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = if first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}
