"""The three pages say what a store holds: of the CA, of what was refused, and of one instance."""

from __future__ import annotations

import html
import re
from contextlib import closing
from pathlib import Path

import console_pages
import pytest
from console_pages import BLOCKED, LONG, REFUSED, RELEASE, VM, Told, Visitor

from acme_iid.console.pages import MOST_CERTIFICATES, MOST_EVENTS
from acme_iid.console.refusals import A_PAGE


def text_of(page: str) -> str:
    """The words of a page's main part."""
    main = page.partition("<main")[2].partition("</main>")[0]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", main)))


def section(page: str, name: str) -> str:
    """The words of a section."""
    return text_of("<main>" + page.partition(f'aria-labelledby="{name}"')[2].partition("</section>")[0])


def commands(page: str) -> list[str]:
    """The commands that can be copied."""
    return [html.unescape(found) for found in re.findall(r'<textarea class="command"[^>]*>([^<]*)</textarea>', page)]


def test_the_overview_begins_with_what_is_red_and_its_command(filled: Visitor) -> None:
    page = filled.get().text
    assert "No server runs." in section(page, "troubles")
    assert section(page, "troubles").index("Red") < section(page, "troubles").index("Yellow")
    assert commands(page)[0] == "acme-iid-ca serve"


def test_the_overview_has_the_fleet_by_cloud_and_owner(filled: Visitor) -> None:
    page = filled.get().text
    assert "aws 123456789042 2" in section(page, "fleet")
    assert page.count("<polygon") == 1
    by_certificates = filled.get(of="certificates").text
    assert by_certificates.count("<polygon") == 2
    assert "hosts 1" in section(by_certificates, "fleet")


def test_each_number_of_a_chart_is_in_its_table(filled: Visitor) -> None:
    page = filled.get().text
    table = page.partition("What ends in")[2].partition("<tbody>")[2].partition("</tbody>")[0]
    rows = [[int(cell) for cell in re.findall(r"<td>(\d+)</td>", row)] for row in table.split("</tr>")[:-1]]
    assert len(rows) == 48
    assert sum(row[-1] for row in rows) == 3
    assert page.count("<rect") == sum(number > 0 for row in rows for number in row[:-1])


def test_the_overview_proves_the_chain_of_events(filled: Visitor) -> None:
    found = section(filled.get().text, "events")
    assert re.search(r"Proven All \d+ events, since", found)
    assert re.search(r"Head \d+:[0-9a-f]{64}", found)


def test_a_chain_that_was_broken_is_red(tmp_path: Path) -> None:
    home = console_pages.made_home(tmp_path)
    with closing(console_pages.opened(home)) as database:
        Told(database, VM).refused(console_pages.now(), "a.local", "no")
        database.seal()
        assert database.rows("UPDATE events SET name = 'b.local' WHERE kind = 'challenge.refused' RETURNING seq")
    with console_pages.console(home) as (running, _):
        page = Visitor(running).get().text
    assert "Broken" in section(page, "events")
    assert "Proven" not in section(page, "events")
    assert "acme-iid-ca events --check" in commands(page)


def test_the_cas_own_certificates_have_their_days_left(filled: Visitor) -> None:
    found = section(filled.get().text, "ca")
    assert re.search(r"root .*3,6\d\d days left ends \d{4}-", found)


def test_each_refusal_has_its_rule_and_the_command_that_lifts_it(filled: Visitor) -> None:
    page = filled.get("refusals").text
    assert RELEASE in commands(page)
    assert "acme-iid-ca provisioner add" in commands(page)
    found = text_of(page)
    assert "first use at step first use" in found
    assert "No command lifts this: the client needs other evidence, or another order." in found
    assert "1,204 times" in found


@pytest.mark.parametrize(("over", "bars"), [("day", 24), ("week", 28), ("month", 30)])
def test_refusals_are_counted_by_step_and_by_rule(filled: Visitor, over: str, bars: int) -> None:
    page = filled.get("refusals", over=over).text
    first = 1 if over == "month" else 0
    for by in ("by-step", "by-rule"):
        table = page.partition(f'aria-labelledby="{by}"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
        alls = [int(row.rpartition("<td>")[2].partition("<")[0].replace(",", "")) for row in table.split("</tr>")[:-1]]
        assert len(alls) == bars
        assert sum(alls) == 1204 + 2 + first


def test_an_instances_story_goes_from_first_use_to_the_last_act(filled: Visitor) -> None:
    page = filled.get("instance", id=VM).text
    times = re.findall(r'<p class="when"><time datetime="([^"]+)"', page)
    assert times == sorted(times)
    found = section(page, "story")
    places = [found.index(words) for words in (
        "Rule no provisioner Step admission", "Proved a name First use", "Got a certificate Latest certificate",
        "belongs to another account key", "Certificate revoked",
    )]  # fmt: skip
    assert places == sorted(places)
    assert "on bastion as operator by socket" in found
    assert RELEASE in commands(page)
    # Those between the first and the last are there as well, folded.
    assert page.count("Got a certificate") == 20
    assert re.search(r"\d+ proofs and certificates like these, from", found)


def test_each_name_has_the_rule_that_gave_it(filled: Visitor) -> None:
    found = section(filled.get("instance", id=VM).text, "names")
    for name in ("web.local", LONG):
        assert f"{name} by allow *.local of AWS , proven" in found


def test_an_instance_that_is_blocked_says_so_and_how_it_is_let_in(filled: Visitor) -> None:
    page = filled.get("instance", id=BLOCKED).text
    assert re.search(r"Blocked since [\d :-]+: ", text_of(page))
    assert f"acme-iid-ca instance unblock {BLOCKED}" in commands(page)


def test_an_instance_that_was_only_refused_has_a_story_too(filled: Visitor) -> None:
    found = text_of(filled.get("instance", id="42").text)
    assert "Never let in" in found
    assert "the signature is wrong" in found
    assert "It has no certificate." in found


def test_an_instance_that_nobody_knows_has_a_page_that_says_so(filled: Visitor) -> None:
    unknown = filled.get("instance", id="i-0123456789abcdef0")
    assert unknown.status_code == 404
    assert "This instance is not known here" in unknown.text


def test_an_id_or_a_name_finds_the_instance(filled: Visitor) -> None:
    for word in (VM, VM.rpartition(":")[2], "web.local", f" {VM} "):
        assert filled.get("search", word=word).url == filled.get("instance", id=VM).url.replace("%3A", ":")
    assert "Nothing here is called" in filled.get("search", word="nowhere.local").text
    assert filled.get("search").status_code == 200
    assert filled.get("search", word=REFUSED).status_code == 200


def test_a_fresh_ca_has_pages_that_say_what_is_not_there_yet(fresh_home: Path) -> None:
    with console_pages.console(fresh_home) as (running, _):
        visitor = Visitor(running)
        overview, refused = text_of(visitor.get().text), text_of(visitor.get("refusals").text)
    assert "No instance has been let in yet." in overview
    assert "Nothing was refused in the last day." in overview
    assert "No server has counted them lately." in overview
    assert "Nothing has been refused yet." in refused
    assert "Nothing was refused in the last 7 days." in refused


def test_a_page_has_a_bounded_number_of_rows_and_leads_to_the_others(tmp_path: Path) -> None:
    home, now = console_pages.made_home(tmp_path), console_pages.now()
    with closing(console_pages.opened(home)) as database:
        console_pages.crowd(database, now, 130)
    with console_pages.console(home) as (running, source):
        visitor = Visitor(running)
        seen: list[str] = []
        page = visitor.get("refusals").text
        while True:
            rows = re.findall(r"reason \d+", page.partition('id="each"')[2])
            assert 0 < len(rows) <= A_PAGE
            seen += rows
            following = re.search(r'rel="next" href="([^"]+)"', page)
            if following is None:
                break
            page = visitor.session.get(running.url.rstrip("/") + html.unescape(following[1]), timeout=60).text
        assert seen == [f"reason {number}" for number in reversed(range(130))]
        page = visitor.get("instance", id=VM).text
        assert page.count('class="moment') == MOST_EVENTS
        assert len(re.findall(r'<th scope="row" class="mono">', page)) == MOST_CERTIFICATES
        before = re.search(r'rel="prev" href="([^"]+)"', page)
        assert before is not None
        assert visitor.session.get(running.url.rstrip("/") + html.unescape(before[1]), timeout=60).status_code == 200
        assert max(source.limits) <= 100
