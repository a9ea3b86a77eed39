//! Mnemonics: a recovery key as 24 words of the English list of BIP-39, for 256 secret bits and 8 bits of
//! checksum.
//!
//! The list is `bip-0039/english.txt` of the repository of Bitcoin's improvement proposals, byte for byte. It
//! is sorted, and no two words share their first four letters. BIP-39's stretching to a wallet's seed is left
//! out: the key is `H("recovery", bits)`, so that the same words open nothing else.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::id::{UserId, hash};
use crate::key::SigningKey;

/// Words of a mnemonic.
pub const WORD_COUNT: usize = 24;
/// Bits that a word encodes.
const WORD_BITS: usize = 11;
/// Letters of a word that are compared with the list, whose longest word has eight.
const LETTERS_MAX: usize = 16;

static LIST: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("mnemonic/english.txt").lines().collect());

/// The secret of a recovery key: 24 words, to be written on paper. Wiped on drop; `Display` prints it,
/// `Debug` does not.
pub struct Mnemonic {
    bits: Zeroizing<[u8; 32]>,
}

/// The reason for which a text is not a mnemonic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MnemonicError {
    /// The number of words is wrong.
    #[error("{got} words where a recovery key has {WORD_COUNT}")]
    Count {
        /// Words in the text; for a long text a lower bound.
        got: usize,
    },
    /// A word is not in the list.
    #[error("word {place}, {word:?}, is not in the list; the nearest is {nearest:?}")]
    Unknown {
        /// Number of the word, from 1.
        place: usize,
        /// The first letters of the word.
        word: String,
        /// The most similar word of the list.
        nearest: &'static str,
    },
    /// Each word is in the list, but the checksum fails: a word is wrong, or two are swapped.
    #[error("the words do not fit together: one is wrong, or two are swapped")]
    Checksum,
}

impl Mnemonic {
    /// Makes a new mnemonic from `random`, which must fill its argument with unpredictable bytes.
    #[doc(hidden)] // `Node::make_recovery` makes mnemonics
    pub fn generate(random: &mut impl FnMut(&mut [u8])) -> Self {
        let mut bits = Zeroizing::new([0; 32]);
        random(&mut *bits);
        Self { bits }
    }

    /// The signing key of the recovery user.
    #[doc(hidden)] // the secret key of the recovery user
    pub fn key(&self) -> SigningKey {
        SigningKey::from_seed(*Zeroizing::new(hash("recovery", &[&*self.bits])))
    }

    /// The recovery user, the only part of the key that may be stored.
    pub fn user(&self) -> UserId {
        UserId(self.key().public())
    }

    /// The bits with their checksum.
    fn checked(bits: &[u8; 32]) -> Zeroizing<[u8; 33]> {
        let mut checked = Zeroizing::new([0; 33]);
        checked[..32].copy_from_slice(bits);
        let mut digest: [u8; 32] = Sha256::digest(bits).into();
        checked[32] = digest[0];
        digest.zeroize();
        checked
    }
}

impl fmt::Display for Mnemonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checked = Self::checked(&self.bits);
        for place in 0..WORD_COUNT {
            let number = (place * WORD_BITS..(place + 1) * WORD_BITS)
                .fold(0, |number, bit| number << 1 | usize::from(checked[bit / 8] >> (7 - bit % 8) & 1));
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{}", LIST[number])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mnemonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mnemonic(secret)")
    }
}

impl FromStr for Mnemonic {
    type Err = MnemonicError;

    /// Reads 24 words, in any case and with any white space between them.
    fn from_str(text: &str) -> Result<Self, MnemonicError> {
        let got = text.split_whitespace().take(2 * WORD_COUNT).count();
        if got != WORD_COUNT {
            return Err(MnemonicError::Count { got });
        }
        let mut checked = Zeroizing::new([0_u8; 33]);
        for (at, word) in text.split_whitespace().enumerate() {
            let word = Zeroizing::new(word.chars().take(LETTERS_MAX).collect::<String>().to_lowercase());
            let Ok(number) = LIST.binary_search(&word.as_str()) else {
                let nearest = nearest(&word);
                return Err(MnemonicError::Unknown { place: at + 1, word: word.to_string(), nearest });
            };
            for bit in 0..WORD_BITS {
                let to = at * WORD_BITS + bit;
                checked[to / 8] |= u8::from(number >> (WORD_BITS - 1 - bit) & 1 == 1) << (7 - to % 8);
            }
        }
        let bits = Zeroizing::new(*checked.first_chunk::<32>().expect("33 bytes have 32"));
        if *Self::checked(&bits) != *checked {
            return Err(MnemonicError::Checksum);
        }
        Ok(Self { bits })
    }
}

/// The word of the list with the smallest edit distance; of several the first.
fn nearest(word: &str) -> &'static str {
    LIST.iter().min_by_key(|listed| distance(word, listed)).expect("the list has words")
}

/// The Levenshtein distance, by letters.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (to, beside) in other.chars().enumerate() {
            let changed = diagonal + usize::from(letter != beside);
            diagonal = row[to + 1];
            row[to + 1] = changed.min(diagonal + 1).min(row[to] + 1);
        }
    }
    row[other.chars().count()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Published vectors of BIP-39: bits, words.
    const VECTORS: [([u8; 32], &str); 3] = [
        (
            [0; 32],
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
             abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
             abandon art",
        ),
        (
            [0x7f; 32],
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth \
             useful legal winner thank year wave sausage worth title",
        ),
        (
            [0xff; 32],
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo \
             zoo zoo vote",
        ),
    ];

    fn of(bits: [u8; 32]) -> Mnemonic {
        Mnemonic::generate(&mut |random| random.copy_from_slice(&bits))
    }

    fn read(words: &[&str]) -> Result<Mnemonic, MnemonicError> {
        words.join(" ").parse()
    }

    #[test]
    fn the_list_is_the_published_one() {
        let digest: [u8; 32] = Sha256::digest(include_str!("mnemonic/english.txt")).into();
        assert_eq!(digest[..4], [0x2f, 0x5e, 0xed, 0x53]);
        assert_eq!(LIST.len(), 1 << WORD_BITS);
        assert!(LIST.is_sorted());
        assert!(LIST.iter().all(|word| word.len() <= LETTERS_MAX));
    }

    #[test]
    fn the_published_vectors_hold() {
        for (bits, words) in VECTORS {
            assert_eq!(of(bits).to_string(), words);
            assert_eq!(*words.parse::<Mnemonic>().unwrap().bits, bits);
        }
    }

    #[test]
    fn a_mnemonic_gives_its_golden_key() {
        let user = of([0; 32]).user();
        assert_eq!(user.to_string(), "9e34a0d75981d58b672b8689efc15dc2d69f953b015784ba816f099bcc714cd5");
    }

    #[test]
    fn case_and_white_space_do_not_matter() {
        let (bits, words) = VECTORS[1];
        let written = format!("\n  {}\n", words.to_uppercase().replace(' ', " \t\n"));
        assert_eq!(*written.parse::<Mnemonic>().unwrap().bits, bits);
    }

    #[test]
    fn a_wrong_number_of_words_is_refused() {
        let words: Vec<&str> = VECTORS[1].1.split(' ').collect();
        assert_eq!(read(&words[..23]).unwrap_err(), MnemonicError::Count { got: 23 });
        assert_eq!(read(&[&words[..], &["zoo"]].concat()).unwrap_err(), MnemonicError::Count { got: 25 });
        assert_eq!("".parse::<Mnemonic>().unwrap_err(), MnemonicError::Count { got: 0 });
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_nearest_word() {
        let mut words: Vec<&str> = VECTORS[1].1.split(' ').collect();
        words[4] = "wavve";
        let refused = read(&words).unwrap_err();
        assert_eq!(refused, MnemonicError::Unknown { place: 5, word: "wavve".into(), nearest: "wave" });
        assert_eq!(refused.to_string(), r#"word 5, "wavve", is not in the list; the nearest is "wave""#);

        let long = "ä".repeat(1 << 20);
        words[4] = &long;
        assert!(
            matches!(read(&words), Err(MnemonicError::Unknown { place: 5, word, .. }) if word.len() == 32)
        );
    }

    #[test]
    fn debug_output_shows_no_word() {
        assert_eq!(format!("{:?}", of([7; 32])), "Mnemonic(secret)");
    }

    proptest! {
        #[test]
        fn a_mnemonic_parses_to_its_bits(bits in any::<[u8; 32]>()) {
            let words = of(bits);
            prop_assert_eq!(*words.to_string().parse::<Mnemonic>().unwrap().bits, bits);
        }

        #[test]
        fn a_changed_word_fails_the_checksum_unless_it_has_its_own(
            bits in any::<[u8; 32]>(),
            place in 0..WORD_COUNT,
            number in 0..2048_usize,
        ) {
            let text = of(bits).to_string();
            let mut words: Vec<&str> = text.split(' ').collect();
            words[place] = LIST[number];
            match read(&words) {
                Ok(read) => prop_assert_eq!(read.to_string(), words.join(" ")),
                Err(refused) => prop_assert_eq!(refused, MnemonicError::Checksum),
            }
        }
    }
}
