//! How does text get into a page? As text, always.
//!
//! SECURITY: the only way markup comes into being is a literal of this program; whatever was computed,
//! read or sent is escaped by the type that it has. One escape serves text and attributes, because every
//! attribute here stands in double quotes. Nothing is ever put into a script or a style.

/// A piece of a page: markup from literals, text escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Markup of this program.
    pub fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Text of anybody.
    pub fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
    }

    /// As it is sent.
    pub fn into_string(self) -> String {
        self.0
    }

    /// As it is sent.
    #[cfg(test)]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What can stand in a page between its markup.
pub trait Part {
    /// Appends it.
    fn put(&self, out: &mut Html);
}

impl Part for str {
    fn put(&self, out: &mut Html) {
        out.text(self);
    }
}

impl Part for String {
    fn put(&self, out: &mut Html) {
        out.text(self);
    }
}

impl Part for Html {
    fn put(&self, out: &mut Html) {
        out.0.push_str(&self.0);
    }
}

impl<T: Part + ?Sized> Part for &T {
    fn put(&self, out: &mut Html) {
        (**self).put(out);
    }
}

impl<T: Part + ?Sized> Part for Box<T> {
    fn put(&self, out: &mut Html) {
        (**self).put(out);
    }
}

impl<T: Part + ?Sized> Part for std::sync::Arc<T> {
    fn put(&self, out: &mut Html) {
        (**self).put(out);
    }
}

impl<T: Part> Part for Option<T> {
    fn put(&self, out: &mut Html) {
        if let Some(part) = self {
            part.put(out);
        }
    }
}

impl<T: Part> Part for Vec<T> {
    fn put(&self, out: &mut Html) {
        self.iter().for_each(|part| part.put(out));
    }
}

/// Digits are text that needs no escape.
macro_rules! numbers {
    ($($number:ty)*) => { $(impl Part for $number {
        fn put(&self, out: &mut Html) {
            out.text(&self.to_string());
        }
    })* };
}
numbers!(u8 u16 u32 u64 usize i64);

/// Markup in literals, what is shown in brackets: `html!("<p>" (name) "</p>")`.
macro_rules! html {
    (@part $out:ident $markup:literal) => { $out.raw($markup) };
    (@part $out:ident ($part:expr)) => { $crate::console::page::html::Part::put(&$part, &mut $out) };
    ($($part:tt)+) => {{
        let mut out = $crate::console::page::html::Html::new();
        $( html!(@part out $part); )+
        out
    }};
}
pub(super) use html;

/// One piece for each, in order.
pub fn each<T>(all: impl IntoIterator<Item = T>, piece: impl FnMut(T) -> Html) -> Vec<Html> {
    all.into_iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_stays_text_wherever_it_stands() {
        let sent = r#"<script>alert("x")</script>' onload='y' & <!-- ]]> "#;
        let page = html!(r#"<p title=""# (sent) r#"">"# (sent.to_owned()) "</p>" (Some(1_u64)));
        let inside = "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&#39; onload=&#39;y&#39; &amp; \
                      &lt;!-- ]]&gt; ";
        assert_eq!(page.as_str(), format!("<p title=\"{inside}\">{inside}</p>1"));
        // What is a page already is not escaped twice.
        assert_eq!(
            html!("<i>" (html!((sent))) "</i>").as_str(),
            html!("<i>" (sent) "</i>").as_str()
        );
        assert_eq!(html!((None::<String>)(vec!["a", "<"])).as_str(), "a&lt;");
    }

    proptest::proptest! {
        #[test]
        fn no_text_ends_its_place(text in ".{0,60}") {
            let page = html!((text)).into_string();
            proptest::prop_assert!(!page.contains(['<', '>', '"', '\'']));
            let back = page.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")
                .replace("&#39;", "'").replace("&amp;", "&");
            proptest::prop_assert_eq!(back, text);
        }
    }
}
