from jaxalign.report.markup import bullets, code, element, image, joined, table


def test_text_is_escaped_and_markup_is_not():
    assert element("p", "1 < 2 & 3", code("a<b"), None) == "<p>1 &lt; 2 &amp; 3<code>a&lt;b</code></p>"
    assert joined(["<", code(">"), 3]) == "&lt;<code>&gt;</code>3"
    assert bullets(["a&b"]) == "<ul><li>a&amp;b</li></ul>"


def test_attributes():
    made = element("a", "x", href="#a\"b'", class_="c", aria_label="d", id=None)
    assert made == '<a href="#a&quot;b&#x27;" class="c" aria-label="d">x</a>'
    assert image("data:image/png;base64,AA==", 'a "b"') == (
        '<img src="data:image/png;base64,AA==" alt="a &quot;b&quot;">'
    )


def test_table():
    made = table("t", "What", ["a", "b"], [(1, 2), (3, "<")], flagged=[1], class_="numbers")
    assert '<p class="caption" id="table-t">What</p>' in made
    assert '<th scope="col">a</th><th scope="col">b</th>' in made
    assert (
        '<tr><th scope="row">1</th><td>2</td></tr><tr class="flagged"><th scope="row">3</th><td>&lt;</td></tr>' in made
    )
    assert 'class="scroll numbers" role="region" aria-labelledby="table-t" tabindex="0"' in made
