//! Keys and a zone for tests.

use crate::authn::Lookup;
use crate::dns::{Answer, Question, Record};
use std::cell::Cell;
use std::convert::Infallible;

/// A key of 2048 bits that is used for nothing else, as PKCS#1.
pub(crate) const RSA_PKCS1: &str = "\
-----BEGIN RSA PRIVATE KEY-----
MIIEogIBAAKCAQEAwy1NUIkLTT1qtWzirHC1nYqk+ZBce/TLYtAr9FvBWYitc9hA
mzoQR3Mg65XK8fEarMSy/jX+aemKI2ibdzQHYuniCSJH26786bWc/aF0BgasoLZO
UzpUTItSVd4FHmmEIniNEUH6Jw/uHO1Sxe+H/JMxymiVIPLFnf7cYFnIfBUkuYNO
pGg/EjlJbLish4/SLXA59iTn0C1k1NlbJFNa0uKxvcula73edmWsRRsxzP2VywO9
1Ab0SbJ0olKGpjaMJELKv6UMHrtaeUWW+88iDtJL2U7sEcJEtgmJFJ+gZzP/OdTp
bSuP6AvwsZ8WyruZmiZ8XEOF4O+6uFP0OcZGQQIDAQABAoIBAA7Uvm9EOquf4x/u
KjtYRTS3eFnOcnio3Vug3fYvkr2u+R84a5BgFSSYxwOf2lAQNiqyt7dBexepO2n9
ZPLl7TnC8/4lsLgsz+Mifc94GUzr7Oo5cDI62HUIkTUdLd5lvjiwWGfbT5rwRvPD
xOptjTPQK5Rp5gse541d9HkN2YI0Jx2M1zVRgrkiNCNvoecV6pV7TEgDYIQfs1sg
EXlmFNd+ikYN/12rmj1qpUkpn8xrlwImLNhQ1KVlgF6b3GXVl8RUcz8XwBk4hLkS
7PLisiAO+woyH58AbP0LKg3Y8yErVxTQz6e8uMfs2cIjuNnh5Fn4HM58ILyva/mV
rd6Ym8ECgYEA5m7WdS1NiPa7S+/IXBKdNRjWb31uQbglCFl159b6e6kuC6FDW59y
CbFr5THv3J/3iaYRUXNJnRb+AIS8j/rxlCOTHPdT5BsaqbU8OXhb+SfUUbK1P0aJ
WxplLgdevjVwHad32m17NuAnkbYs+6+3BkHGWGlbHbUXdvbioCvUgFUCgYEA2NUP
twPrNd5f52by6yadZmp0RuiW9KrWAq9wyPinTemVTanH9U3kM7bypcYd6vg1x/5v
SbSMJbvzSISXP5PuhmZ1TcfAcIyKYiLYvAG4ZxB4kxLM/LkgCGA1kk/tJR5PR8IS
zf5vjNB+6Z+peGAr8LR4d4Dx59IvaifB9d1+6j0CgYBaFAvrpHkByImxBpwJOhGQ
VxREYwD92dFIMUiBB63FN35Td4fQQkUe+udVoi7EzRfEDFIKyAmHyhwi8cCQfCWB
pmJ02U5HBj1nB/zx7lXt0R8TjMuDX7yEC45v7tufeV5JiVS140ReUEPHlzKAdNEU
NhQmLZE7zLXOgHZY7KlWPQKBgE3Dm+83KJQZPKvw8A4Fu02PwEPuBrWYz0gHQ5vQ
EbCPpUxFJ8GCPeWOJ1fsxa4PdrpTNfZpGhouXgIUC2px04nAFTHgAdRbkwW/GZvT
wh60eYnFpF6+xg468vuWTqaRSD2kDLp0Fe2amOmQqWbSlu+syceSJy/M4dRgjd9v
oKTBAoGAbJPx0x8gSEU3PRGAwnt1F632OuwbKs8Ixu2TfWEyEE6pBzYBVWpgK3S/
cXyptRCXzv8BERE7wRJVAwKsXCXdunOLJiQdjoQkZ6TFKJE7vuQ40n1y5BKPHr2R
fPaNFrTzdrVFlQQ7S6pXz99o0wa8r2WH0ytudvdWZFRXTmcPuLI=
-----END RSA PRIVATE KEY-----
";

/// The same as PKCS#8.
pub(crate) const RSA_PKCS8: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDDLU1QiQtNPWq1
bOKscLWdiqT5kFx79Mti0Cv0W8FZiK1z2ECbOhBHcyDrlcrx8RqsxLL+Nf5p6Yoj
aJt3NAdi6eIJIkfbrvzptZz9oXQGBqygtk5TOlRMi1JV3gUeaYQieI0RQfonD+4c
7VLF74f8kzHKaJUg8sWd/txgWch8FSS5g06kaD8SOUlsuKyHj9ItcDn2JOfQLWTU
2VskU1rS4rG9y6Vrvd52ZaxFGzHM/ZXLA73UBvRJsnSiUoamNowkQsq/pQweu1p5
RZb7zyIO0kvZTuwRwkS2CYkUn6BnM/851OltK4/oC/CxnxbKu5maJnxcQ4Xg77q4
U/Q5xkZBAgMBAAECggEADtS+b0Q6q5/jH+4qO1hFNLd4Wc5yeKjdW6Dd9i+Sva75
HzhrkGAVJJjHA5/aUBA2KrK3t0F7F6k7af1k8uXtOcLz/iWwuCzP4yJ9z3gZTOvs
6jlwMjrYdQiRNR0t3mW+OLBYZ9tPmvBG88PE6m2NM9ArlGnmCx7njV30eQ3ZgjQn
HYzXNVGCuSI0I2+h5xXqlXtMSANghB+zWyAReWYU136KRg3/XauaPWqlSSmfzGuX
AiYs2FDUpWWAXpvcZdWXxFRzPxfAGTiEuRLs8uKyIA77CjIfnwBs/QsqDdjzIStX
FNDPp7y4x+zZwiO42eHkWfgcznwgvK9r+ZWt3pibwQKBgQDmbtZ1LU2I9rtL78hc
Ep01GNZvfW5BuCUIWXXn1vp7qS4LoUNbn3IJsWvlMe/cn/eJphFRc0mdFv4AhLyP
+vGUI5Mc91PkGxqptTw5eFv5J9RRsrU/RolbGmUuB16+NXAdp3fabXs24CeRtiz7
r7cGQcZYaVsdtRd29uKgK9SAVQKBgQDY1Q+3A+s13l/nZvLrJp1manRG6Jb0qtYC
r3DI+KdN6ZVNqcf1TeQztvKlxh3q+DXH/m9JtIwlu/NIhJc/k+6GZnVNx8BwjIpi
Iti8AbhnEHiTEsz8uSAIYDWST+0lHk9HwhLN/m+M0H7pn6l4YCvwtHh3gPHn0i9q
J8H13X7qPQKBgFoUC+ukeQHIibEGnAk6EZBXFERjAP3Z0UgxSIEHrcU3flN3h9BC
RR7651WiLsTNF8QMUgrICYfKHCLxwJB8JYGmYnTZTkcGPWcH/PHuVe3RHxOMy4Nf
vIQLjm/u2595XkmJVLXjRF5QQ8eXMoB00RQ2FCYtkTvMtc6AdljsqVY9AoGATcOb
7zcolBk8q/DwDgW7TY/AQ+4GtZjPSAdDm9ARsI+lTEUnwYI95Y4nV+zFrg92ulM1
9mkaGi5eAhQLanHTicAVMeAB1FuTBb8Zm9PCHrR5icWkXr7GDjry+5ZOppFIPaQM
unQV7ZqY6ZCpZtKW76zJx5InL8zh1GCN32+gpMECgYBsk/HTHyBIRTc9EYDCe3UX
rfY67BsqzwjG7ZN9YTIQTqkHNgFVamArdL9xfKm1EJfO/wERETvBElUDAqxcJd26
c4smJB2OhCRnpMUokTu+5DjSfXLkEo8evZF89o0WtPN2tUWVBDtLqlfP32jTBryv
ZYfTK25291ZkVFdOZw+4sg==
-----END PRIVATE KEY-----
";

/// Its public half.
pub(crate) const RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwy1NUIkLTT1qtWzirHC1
nYqk+ZBce/TLYtAr9FvBWYitc9hAmzoQR3Mg65XK8fEarMSy/jX+aemKI2ibdzQH
YuniCSJH26786bWc/aF0BgasoLZOUzpUTItSVd4FHmmEIniNEUH6Jw/uHO1Sxe+H
/JMxymiVIPLFnf7cYFnIfBUkuYNOpGg/EjlJbLish4/SLXA59iTn0C1k1NlbJFNa
0uKxvcula73edmWsRRsxzP2VywO91Ab0SbJ0olKGpjaMJELKv6UMHrtaeUWW+88i
DtJL2U7sEcJEtgmJFJ+gZzP/OdTpbSuP6AvwsZ8WyruZmiZ8XEOF4O+6uFP0OcZG
QQIDAQAB
-----END PUBLIC KEY-----
";

/// Its key record.
pub(crate) const RSA_RECORD: &str = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwy1NUIkLTT1qtWzirHC1nYqk+ZBce/TLYtAr9FvBWYitc9hAmzoQR3Mg65XK8fEarMSy/jX+aemKI2ibdzQHYuniCSJH26786bWc/aF0BgasoLZOUzpUTItSVd4FHmmEIniNEUH6Jw/uHO1Sxe+H/JMxymiVIPLFnf7cYFnIfBUkuYNOpGg/EjlJbLish4/SLXA59iTn0C1k1NlbJFNa0uKxvcula73edmWsRRsxzP2VywO91Ab0SbJ0olKGpjaMJELKv6UMHrtaeUWW+88iDtJL2U7sEcJEtgmJFJ+gZzP/OdTpbSuP6AvwsZ8WyruZmiZ8XEOF4O+6uFP0OcZGQQIDAQAB";

/// The key of RFC 8463 appendix A.2.
pub(crate) const ED25519_PKCS8: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";

/// Its key record.
pub(crate) const ED25519_RECORD: &str =
    "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// TXT records by name, which counts how often it is asked. A text that begins with `!` is a fault.
#[derive(Default)]
pub(crate) struct Zone {
    pub(crate) texts: Vec<(String, String)>,
    pub(crate) rounds: Cell<usize>,
}

impl Zone {
    pub(crate) fn of(texts: &[(&str, &str)]) -> Zone {
        let owned = |(name, text): &(&str, &str)| ((*name).to_string(), (*text).to_string());
        Zone { texts: texts.iter().map(owned).collect(), rounds: Cell::new(0) }
    }

    fn answer(&self, question: &Question) -> Answer {
        let of_name = self.texts.iter().filter(|(name, _)| **name == *question.name);
        let texts: Vec<&String> = of_name.map(|(_, text)| text).collect();
        if texts.iter().any(|text| text.starts_with('!')) {
            return Answer::TempFail;
        }
        let records = texts.iter().map(|text| Record::Text(text.as_bytes().into()));
        if texts.is_empty() { Answer::NxDomain } else { Answer::Found(records.collect()) }
    }
}

impl Lookup for &Zone {
    type Missing = Infallible;

    fn ask(&mut self, question: Question) -> Result<Answer, Infallible> {
        self.rounds.set(self.rounds.get() + 1);
        Ok(self.answer(&question))
    }

    fn ask_all(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Infallible> {
        self.rounds.set(self.rounds.get() + 1);
        Ok(questions.iter().map(|question| self.answer(question)).collect())
    }
}
