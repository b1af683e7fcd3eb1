//! Writes BTF blobs for tests, here and in the modules that read facts from BTF.

/// A blob under construction; each method that adds a type returns its id.
pub(crate) struct Builder {
    pub types: Vec<u8>,
    strings: Vec<u8>,
    next_id: u32,
    first_string: u32,
    layout: Vec<u8>,
}

impl Builder {
    pub fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            next_id: 1,
            first_string: 0,
            layout: Vec::new(),
        }
    }

    /// A module's blob on top of `base`.
    pub fn split(base: &Self) -> Self {
        Self {
            strings: Vec::new(),
            next_id: base.next_id,
            first_string: base.first_string + base.strings.len() as u32,
            ..Self::new()
        }
    }

    pub fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = self.first_string + self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        offset
    }

    pub fn raw(
        &mut self,
        name: &str,
        kind: u32,
        flag: bool,
        vlen: usize,
        size_or_type: u32,
        rest: &[u32],
    ) -> u32 {
        let name = self.string(name);
        let info = u32::from(flag) << 31 | kind << 24 | vlen as u32;
        for word in [name, info, size_or_type].iter().chain(rest) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.next_id += 1;
        self.next_id - 1
    }

    pub fn int(&mut self, name: &str, size: u32) -> u32 {
        self.raw(name, 1, false, 0, size, &[size * 8])
    }

    pub fn ptr(&mut self, to: u32) -> u32 {
        self.raw("", 2, false, 0, to, &[])
    }

    pub fn array(&mut self, of: u32, count: u32) -> u32 {
        self.raw("", 3, false, 0, 0, &[of, 0, count])
    }

    pub fn typedef(&mut self, name: &str, to: u32) -> u32 {
        self.raw(name, 8, false, 0, to, &[])
    }

    /// Members are name, type, offset in bits, width in bits (0 unless a bitfield).
    pub fn aggregate(
        &mut self,
        union: bool,
        name: &str,
        size: u32,
        members: &[(&str, u32, u32, u32)],
    ) -> u32 {
        let rest: Vec<u32> = members
            .iter()
            .flat_map(|(name, id, bits, width)| [self.string(name), *id, bits | width << 24])
            .collect();
        let flag = members.iter().any(|member| member.3 != 0);
        self.raw(
            name,
            if union { 5 } else { 4 },
            flag,
            members.len(),
            size,
            &rest,
        )
    }

    pub fn strukt(&mut self, name: &str, size: u32, members: &[(&str, u32, u32, u32)]) -> u32 {
        self.aggregate(false, name, size, members)
    }

    pub fn enumeration(&mut self, name: &str, signed: bool, values: &[(&str, i32)]) -> u32 {
        let rest: Vec<u32> = values
            .iter()
            .flat_map(|(name, value)| [self.string(name), value.cast_unsigned()])
            .collect();
        self.raw(name, 6, signed, values.len(), 4, &rest)
    }

    pub fn proto(&mut self, params: &[(&str, u32)]) -> u32 {
        let rest: Vec<u32> = params
            .iter()
            .flat_map(|(name, id)| [self.string(name), *id])
            .collect();
        self.raw("", 13, false, params.len(), 0, &rest)
    }

    pub fn func(&mut self, name: &str, proto: u32) -> u32 {
        self.raw(name, 12, false, 1, proto, &[])
    }

    /// Says how long a kind is, as kernels of 2026 do: fixed bytes, and bytes for each element.
    pub fn layout(&mut self, kind: usize, fixed: u8, each: u8) {
        self.layout.resize((kind + 1) * 4, 0);
        self.layout[kind * 4..kind * 4 + 2].copy_from_slice(&[fixed, each]);
    }

    pub fn bytes(&self) -> Vec<u8> {
        let header: u32 = if self.layout.is_empty() { 24 } else { 32 };
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut out = vec![0x9f, 0xeb, 1, 0];
        let words = [
            header,
            0,
            types,
            types,
            strings,
            types + strings,
            self.layout.len() as u32,
        ];
        for word in &words[..header as usize / 4 - 1] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.types);
        out.extend_from_slice(&self.strings);
        out.extend_from_slice(&self.layout);
        out
    }
}
