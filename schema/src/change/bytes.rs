//! A cursor over bytes of a stranger: canonical LEB128 (DWARF 7.6), lengths checked before anything is taken.

use super::Fault;

/// The bytes that are not read yet.
#[derive(Clone)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    /// Takes the next `count` bytes.
    pub(crate) fn take(&mut self, count: u64) -> Result<&'a [u8], Fault> {
        let count = usize::try_from(count).map_err(|_| Fault::Truncated)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Fault::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Takes one byte.
    pub(crate) fn byte(&mut self) -> Result<u8, Fault> {
        let (&byte, rest) = self.0.split_first().ok_or(Fault::Truncated)?;
        self.0 = rest;
        Ok(byte)
    }

    /// Takes 32 bytes.
    pub(crate) fn hash(&mut self) -> Result<[u8; 32], Fault> {
        let (&hash, rest) = self.0.split_first_chunk().ok_or(Fault::Truncated)?;
        self.0 = rest;
        Ok(hash)
    }

    /// Takes a length and as many bytes.
    pub(crate) fn prefixed(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.uleb()?;
        self.take(length)
    }

    /// Takes a count of items that fill at least `width` bytes each, and so cannot be more than the bytes
    /// hold.
    pub(crate) fn count(&mut self, width: usize) -> Result<usize, Fault> {
        let count = usize::try_from(self.uleb()?).map_err(|_| Fault::Truncated)?;
        if count > self.0.len() / width {
            return Err(Fault::Truncated);
        }
        Ok(count)
    }

    /// Takes the next byte if a number ends with it.
    fn last_byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first().filter(|(byte, _)| **byte < 0x80)?;
        self.0 = rest;
        Some(byte)
    }

    /// Takes an unsigned number in its shortest form.
    pub(crate) fn uleb(&mut self) -> Result<u64, Fault> {
        if let Some(byte) = self.last_byte() {
            return Ok(byte.into());
        }
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Fault::Leb128);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(Fault::Leb128) } else { Ok(value) };
            }
        }
        Err(Fault::Leb128)
    }

    /// Takes a signed number in its shortest form.
    pub(crate) fn sleb(&mut self) -> Result<i64, Fault> {
        if let Some(byte) = self.last_byte() {
            return Ok(i64::from(byte) << 57 >> 57);
        }
        let mut value = 0_i64;
        let mut last = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 != 0 {
                last = byte;
                continue;
            }
            let repeats_sign =
                shift > 0 && ((byte == 0 && last & 0x40 == 0) || (byte == 0x7f && last & 0x40 != 0));
            let too_wide = shift == 63 && byte != 0 && byte != 0x7f;
            if repeats_sign || too_wide {
                return Err(Fault::Leb128);
            }
            if shift < 57 && byte & 0x40 != 0 {
                value |= -1 << (shift + 7);
            }
            return Ok(value);
        }
        Err(Fault::Leb128)
    }
}

/// Appends an unsigned number in its shortest form.
pub(crate) fn write_uleb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

pub(crate) fn write_sleb(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let (group, rest) = (u8::try_from(value & 0x7f).expect("seven bits"), value >> 7);
        let is_last = rest == if group & 0x40 == 0 { 0 } else { -1 };
        out.push(if is_last { group } else { group | 0x80 });
        if is_last {
            return;
        }
        value = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unsigned_numbers_survive(value: u64) {
            let mut out = Vec::new();
            write_uleb(&mut out, value);
            prop_assert_eq!(Bytes(&out).uleb(), Ok(value));
        }

        #[test]
        fn signed_numbers_survive(value: i64) {
            let mut out = Vec::new();
            write_sleb(&mut out, value);
            prop_assert_eq!(Bytes(&out).sleb(), Ok(value));
        }

        #[test]
        fn every_accepted_signed_number_has_one_form(bytes in proptest::collection::vec(any::<u8>(), 1..12)) {
            let mut rest = Bytes(&bytes);
            if let Ok(value) = rest.sleb() {
                let used = bytes.len() - rest.0.len();
                let bits = 65 - if value < 0 { (!value).leading_zeros() } else { value.leading_zeros() };
                prop_assert_eq!(used, usize::try_from(bits.div_ceil(7)).unwrap());
            }
        }
    }

    #[test]
    fn signed_numbers_read_as_written() {
        let cases: [(&[u8], i64); 7] = [
            (&[0], 0),
            (&[0x7f], -1),
            (&[0x3f], 63),
            (&[0xc0, 0], 64),
            (&[0x40], -64),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0], i64::MAX),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f], i64::MIN),
        ];
        for (bytes, value) in cases {
            assert_eq!(Bytes(bytes).sleb(), Ok(value));
        }
    }

    #[test]
    fn longer_forms_are_refused() {
        assert_eq!(Bytes(&[0x81, 0]).uleb(), Err(Fault::Leb128));
        assert_eq!(Bytes(&[0xff; 11]).uleb(), Err(Fault::Leb128));
        assert_eq!(
            Bytes(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]).uleb(),
            Err(Fault::Leb128)
        );
        assert_eq!(Bytes(&[0x81, 0]).sleb(), Err(Fault::Leb128));
        assert_eq!(Bytes(&[0xff, 0x7f]).sleb(), Err(Fault::Leb128));
        assert_eq!(Bytes(&[0x80]).uleb(), Err(Fault::Truncated));
    }
}
