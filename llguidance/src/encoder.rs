//! A tokenizer as llguidance calls it: bytes in, ids out, on any thread.
use std::{
    panic::{catch_unwind, AssertUnwindSafe},
    slice,
};
use tokenizers::Tokenizer;
use toktrie_hf_tokenizers::ByteTokenizer;

const NO_TOKEN: u32 = u32::MAX;

pub struct Encoder {
    tokenizer: Tokenizer,
    /// The bytes of each id.
    tokens: Vec<Vec<u8>>,
    /// The id of the token that is this byte alone.
    byte_ids: [u32; 256],
}

impl Encoder {
    /// None where the tokenizer cannot be read, or cannot write every text of ASCII.
    fn new(json: &[u8], tokens: Vec<Vec<u8>>) -> Option<Self> {
        let mut tokenizer = ByteTokenizer::from_json_bytes(json).ok()?.hf_tokenizer;
        // A special token that is written out in a text is text.
        tokenizer.set_encode_special_tokens(true);
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).ok()?;
        let mut byte_ids = [NO_TOKEN; 256];
        for (id, bytes) in tokens.iter().enumerate() {
            if let [byte] = bytes[..] {
                byte_ids[byte as usize] = id as u32;
            }
        }
        // Vocabularies may lack bytes that texts hardly ever have. A text of those is one that no tokens can write.
        let writes_ascii = (b' '..=b'~').all(|byte| byte_ids[byte as usize] != NO_TOKEN);
        writes_ascii.then_some(Self {
            tokenizer,
            tokens,
            byte_ids,
        })
    }

    fn encode(&self, bytes: &[u8]) -> Vec<u32> {
        let mut ids = Vec::new();
        for chunk in bytes.utf8_chunks() {
            match self.encode_text(chunk.valid()) {
                Some(text_ids) => ids.extend(text_ids),
                None => ids.extend(self.single_bytes(chunk.valid().as_bytes())),
            }
            ids.extend(self.single_bytes(chunk.invalid()));
        }
        ids
    }

    /// None where the ids are not exactly the text: a normalizer changed it, or the tokenizer failed.
    fn encode_text(&self, text: &str) -> Option<Vec<u32>> {
        let encoded = catch_unwind(AssertUnwindSafe(|| self.tokenizer.encode_fast(text, false)));
        let ids = encoded.ok()?.ok()?.get_ids().to_vec();
        let mut rest = text.as_bytes();
        for id in &ids {
            rest = rest.strip_prefix(self.tokens.get(*id as usize)?.as_slice())?;
        }
        rest.is_empty().then_some(ids)
    }

    fn single_bytes<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
        let ids = bytes.iter().map(|byte| self.byte_ids[*byte as usize]);
        ids.filter(|id| *id != NO_TOKEN)
    }
}

/// Makes an encoder of a tokenizer.json. Null where the tokenizer cannot be read, or cannot write every text of ASCII.
///
/// # Safety
/// `json` has `json_len` bytes; `token_lens` has `vocab_size` numbers, and `token_bytes` as many bytes as their sum.
#[no_mangle]
pub unsafe extern "C" fn fastgen_encoder_new(
    json: *const u8,
    json_len: usize,
    vocab_size: usize,
    token_lens: *const u32,
    token_bytes: *const u8,
) -> *mut Encoder {
    let made = catch_unwind(|| {
        let json = unsafe { slice::from_raw_parts(json, json_len) };
        let lens = unsafe { slice::from_raw_parts(token_lens, vocab_size) };
        let mut end = 0;
        let tokens = lens.iter().map(|len| {
            let start = end;
            end += *len as usize;
            unsafe { slice::from_raw_parts(token_bytes.add(start), *len as usize) }.to_vec()
        });
        let tokens = tokens.collect();
        Encoder::new(json, tokens).map(Box::new)
    });
    match made {
        Ok(Some(encoder)) => Box::into_raw(encoder),
        _ => std::ptr::null_mut(),
    }
}

/// The `tokenize_fn` of a tokenizer whose `tokenize_user_data` is an encoder. Returns the number of ids, of which it writes as
/// many as `output` holds.
///
/// # Safety
/// `encoder` came from fastgen_encoder_new; `bytes` has `len` bytes, and `output` room for `output_len` ids.
#[no_mangle]
pub unsafe extern "C" fn fastgen_encoder_encode(
    encoder: *const Encoder,
    bytes: *const u8,
    len: usize,
    output: *mut u32,
    output_len: usize,
) -> usize {
    if len == 0 {
        return 0;
    }
    let ids = unsafe { (*encoder).encode(slice::from_raw_parts(bytes, len)) };
    unsafe { std::ptr::copy_nonoverlapping(ids.as_ptr(), output, ids.len().min(output_len)) };
    ids.len()
}

/// Frees an encoder. The tokenizer that uses it, and all its matchers, must be gone.
///
/// # Safety
/// `encoder` came from fastgen_encoder_new, and is not freed twice.
#[no_mangle]
pub unsafe extern "C" fn fastgen_encoder_free(encoder: *mut Encoder) {
    if !encoder.is_null() {
        drop(unsafe { Box::from_raw(encoder) });
    }
}
