"""A page in a real headless browser: what a reader would see of it, as numbers.

Debian's chromium loads the page in a frame of the asked width, so that a phone is one even where
the browser has a least width of its own. A script in the frame's parent, not in the page, looks at
pictures, widths and colours and leaves what it finds in the document, which chromium prints.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

#: WCAG 2.1, 1.4.3: relative luminance and contrast of every element that holds text of its own.
_LOOK = """
function channel(c) { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 }
function luminance(c) {
  return 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]) }
function rgba(text) {
  const c = text.match(/[\\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c }
function behind(view, element) {
  for (let e = element; e; e = e.parentElement) {
    const c = rgba(view.getComputedStyle(e).backgroundColor); if (c[3] > 0) return c }
  return [255, 255, 255, 1] }
function contrast(view, e) {
  const a = luminance(rgba(view.getComputedStyle(e).color)), b = luminance(behind(view, e));
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) }
function look(frame) {
  const view = frame.contentWindow, page = frame.contentDocument;
  const own = e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim());
  const texts = [...page.body.querySelectorAll('*')].filter(own).filter(e => e.offsetParent);
  const pale = texts.filter(e => contrast(view, e) < 4.5);
  const wide = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  const images = [...page.images];
  const unseen = images.filter(i => !i.complete || !i.naturalWidth || i.clientWidth < 100);
  return { texts: texts.length, pale: pale.map(e => e.outerHTML.slice(0, 120)), overflow: wide,
    images: images.length, unseen: unseen.map(i => i.alt),
    least: Math.min(...texts.map(e => parseFloat(view.getComputedStyle(e).fontSize))) } }
window.onload = () => {
  const found = document.createElement('pre'); found.id = 'found';
  found.textContent = JSON.stringify(look(document.getElementById('page')));
  document.body.replaceChildren(found) }
"""


def look(page: Path, width: int, folder: Path) -> dict[str, object]:
    """What there is on ``page`` in a frame of ``width`` pixels, and what the browser complained of.

    ``folder`` takes the browser's own files and the document that holds the frame.
    """
    inner = html.escape(page.read_text(encoding="utf-8"), quote=True)
    outer = folder / f"{page.stem}-{width}.html"
    outer.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><script>{_LOOK}</script>'
        f'<iframe id="page" width="{width}" height="844" srcdoc="{inner}"></iframe>',
        encoding="utf-8",
    )
    done = _chromium(folder, "--dump-dom", outer.as_uri())
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert found, done.stderr[-2000:]
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return {**json.loads(html.unescape(found.group(1))), "console": complaints}


def photograph(page: Path, width: int, height: int, picture: Path, folder: Path) -> None:
    """Save what a window of this size shows of ``page``."""
    inner = html.escape(page.read_text(encoding="utf-8"), quote=True)
    outer = folder / f"{page.stem}-{width}-photo.html"
    outer.write_text(
        '<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">'
        f'<iframe style="border:0" width="{width}" height="{height}" srcdoc="{inner}"></iframe>',
        encoding="utf-8",
    )
    size = f"--window-size={max(width, 500)},{height}"
    _chromium(folder, f"--screenshot={picture}", size, "--hide-scrollbars", outer.as_uri())


def _chromium(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    return subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND",  # no network, whatever a page asks for
            "--enable-logging=stderr",
            "--timeout=60000",
            f"--user-data-dir={folder / 'browser'}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
