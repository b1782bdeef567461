// What a page does by itself: rows that come live, clocks that tick, keys that move the focus.
// Every page works without it. It never decides anything: no key and no event ever sends a form.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const all = (where, what) => Array.from(where.querySelectorAll(what));
  const make = (tag, text, cls) => {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (cls) made.className = cls;
    return made;
  };
  const drawing = (name) => {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS(space, "use");
    use.setAttribute("href", "#s-" + name);
    svg.append(use);
    return svg;
  };
  const status = (cls, shape, words) => {
    const made = make("span", "", "status " + cls);
    made.append(drawing(shape), words);
    return made;
  };

  // ---------- time ----------
  let ahead = 0; // how far the server's clock is before this one, in ms
  let stopped = false;
  const now = () => Date.now() + ahead;
  const span = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    const pair = (major, minor, unit) => (minor ? major + " " + minor + " " + unit : major);
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min";
    if (s < 86400) return pair(Math.floor(s / 3600) + " h", Math.floor((s % 3600) / 60), "min");
    return pair(Math.floor(s / 86400) + " d", Math.floor((s % 86400) / 3600), "h");
  };
  const clock = () => new Date(now()).toISOString().slice(11, 19);
  const tick = () => {
    if (stopped) return;
    for (const one of all(document, ".tick")) {
      const { since, until } = one.dataset;
      const words = since ? span(now() - Date.parse(since)) : span(Date.parse(until) - now());
      if (one.textContent !== words) one.textContent = words;
    }
    const time = document.querySelector("#live time");
    if (time) time.textContent = clock();
  };

  // ---------- what is new takes the place of what was, and the focus stays where it is ----------
  const morph = (old, fresh) => {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id && fresh.id && old.id !== fresh.id)) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of Array.from(old.attributes)) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of Array.from(fresh.attributes)) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const [before, after] = [Array.from(old.childNodes), Array.from(fresh.childNodes)];
    after.forEach((child, place) => (place < before.length ? morph(before[place], child) : old.append(document.importNode(child, true))));
    before.slice(after.length).forEach((child) => child.remove());
  };
  const load = async () => {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (answer.redirected && new URL(answer.url).pathname === "/sign-in") throw new Error("signed out");
    if (!answer.ok) throw new Error(String(answer.status));
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  };
  const frame = (fresh) => {
    for (const id of ["nav", "notice", "lede", "tabs", "numbers", "unknown-part"]) {
      const [old, other] = [at(id), fresh.getElementById(id)];
      if (old && other && !(id === "tabs" && old.contains(document.activeElement))) morph(old, other);
    }
    document.title = fresh.title;
  };

  // ---------- live ----------
  let waits = null; // a newer page than the one that is shown
  const rowsOf = (where) => all(where, "tr[id^='row-']");
  const many = (count, one, some) => count + " " + (count === 1 ? one : some);
  const names = { holds: ["hold", "holds"], operations: ["operation", "operations"], calls: ["call", "calls"] };
  const gone = (row) => {
    if (row.classList.contains("gone")) return;
    row.classList.add("gone");
    const pick = row.querySelector(".pick");
    if (pick) {
      pick.checked = false;
      pick.disabled = true;
    }
    const words = row.querySelector(".what .sub");
    if (words) words.prepend(make("strong", "Does not wait any more. "));
  };
  const news = (fresh) => {
    const rows = at("rows");
    const other = fresh.getElementById("rows");
    if (!rows || !other) return;
    const sort = rows.dataset.rows;
    const [old, next] = [rowsOf(rows), rowsOf(other)];
    if (sort === "calls") return void (waits = fresh);
    if (!old.length) {
      // Nothing stands under the pointer.
      morph(rows, other);
      say("");
      if (next.length) spoken(many(next.length, "new " + names[sort][0], "new " + names[sort][1]));
      return;
    }
    const known = new Set(old.map((row) => row.id));
    const kept = new Map(next.map((row) => [row.id, row]));
    const added = next.filter((row) => !known.has(row.id)).length;
    let ended = 0;
    for (const row of old) {
      const found = kept.get(row.id);
      if (found && !row.classList.contains("gone")) morph(row, found);
      else if (!found && sort === "holds") {
        gone(row);
        ended += 1;
      }
    }
    waits = fresh;
    const words = [];
    if (added) words.push(many(added, "new " + names[sort][0], "new " + names[sort][1]));
    if (ended) words.push(many(ended, "does not wait any more", "do not wait any more"));
    say(words.join(", "));
  };
  const say = (words) => {
    const bar = at("news");
    if (!bar) return;
    bar.hidden = !words;
    if (at("news-text").textContent !== words) at("news-text").textContent = words;
  };
  const spoken = (words) => {
    const where = at("spoken");
    if (where) where.textContent = words;
  };
  const show = async () => {
    try {
      const fresh = waits && at("rows").dataset.rows !== "calls" ? waits : await load();
      const known = new Set(rowsOf(document).map((row) => row.id));
      frame(fresh);
      at("rows").replaceChildren(...Array.from(document.importNode(fresh.getElementById("rows"), true).childNodes));
      const first = rowsOf(document).find((row) => !known.has(row.id)) || rowsOf(document)[0];
      const link = first && first.querySelector("a");
      (link || at("main")).focus();
    } catch (_) {
      location.reload();
    }
    waits = null;
    seen = calls;
    say("");
  };

  let due = 0;
  const refresh = () => {
    if (due) return;
    // However many events come, a page is read once a second at most.
    due = setTimeout(async () => {
      due = 0;
      try {
        const fresh = await load();
        frame(fresh);
        news(fresh);
        const idle = document.querySelector("[data-swap-idle]");
        const other = idle && fresh.getElementById(idle.id);
        if (other && !idle.querySelector("form") && !idle.contains(document.activeElement)) morph(idle, other);
      } catch (why) {
        lost(why.message === "signed out" ? "Signed out" : "");
      }
    }, 900);
  };
  const own = async (change) => {
    const view = document.querySelector("[data-op]");
    if (!view || view.dataset.op !== change.op) return;
    if (view.hasAttribute("data-swap")) {
      const heading = document.title;
      try {
        const fresh = await load();
        frame(fresh);
        const other = fresh.querySelector("[data-op]");
        if (other) morph(view, other);
        if (heading !== document.title) spoken(document.title.split(" · ")[0]);
      } catch (_) {
        lost("");
      }
      return;
    }
    if (change.state === "held" && change.digest === (at("approve") || document).querySelector?.("[name=digest]")?.value && !change.answered) return;
    at("changed").hidden = false;
    at("changed-text").textContent =
      change.state === "held" ? "This hold changed while you read it." : "This hold does not wait any more.";
  };

  let calls = null;
  let seen = null;
  const live = at("live");
  let heard = Date.now();
  const alive = () => {
    heard = Date.now();
    stopped = false;
    if (live.dataset.on) return;
    live.dataset.on = "1";
    const time = make("time", clock());
    live.replaceChildren(status("status-live", "live", "Live"), " ", time);
  };
  const lost = (why) => {
    if (stopped) return;
    stopped = true;
    delete live.dataset.on;
    const link = make("a", why ? "sign in" : "reload");
    link.href = why ? "/sign-in?next=" + encodeURIComponent(location.pathname + location.search) : location.href;
    live.replaceChildren(status("status-warn", "warn", (why || "Not live since " + clock().slice(0, 5)) + ", "), link);
    spoken(why || "The connection is lost: this page is not live.");
  };
  const follow = () => {
    const events = new EventSource("/v1/events");
    const on = (name, what) =>
      events.addEventListener(name, (event) => {
        alive();
        what(JSON.parse(event.data));
      });
    on("hello", (told) => {
      ahead = Date.parse(told.at) - Date.now();
      tick();
      // What changed between the page and the stream was told to nobody.
      const view = document.querySelector("[data-op][data-swap]");
      if (view) own({ op: view.dataset.op });
      else if (at("rows")) refresh();
    });
    on("beat", () => {});
    on("refresh", refresh);
    on("frozen", refresh);
    on("change", (change) => {
      own(change);
      refresh();
    });
    on("calls", (told) => {
      calls = told.total;
      if (seen === null) seen = calls;
      const rows = at("rows");
      if (rows && rows.dataset.rows === "calls" && calls > seen) {
        const fresh = many(calls - seen, "new call", "new calls");
        say(fresh);
      }
    });
    events.addEventListener("error", () => {
      if (events.readyState !== EventSource.CLOSED) return;
      // It was answered, and not with events: nobody is signed in any more, or there is no place.
      load().then(
        () => lost(""),
        (why) => lost(why.message === "signed out" ? "Signed out" : ""),
      );
    });
    setInterval(() => {
      if (Date.now() - heard > 40000) lost("");
    }, 5000);
    addEventListener("pagehide", () => events.close());
  };
  if (live) {
    const region = make("p", "", "unseen");
    region.id = "spoken";
    region.setAttribute("role", "status");
    at("main").append(region);
    if (at("news-show")) at("news-show").addEventListener("click", show);
  }
  // ---------- keys: they move the focus and nothing else; they can be turned off (WCAG 2.1.4) ----------
  const KEYS = "tollhouse-keys";
  const off = () => {
    try {
      return localStorage.getItem(KEYS) === "off";
    } catch (_) {
      return false;
    }
  };
  const help = () => {
    let box = at("keys-help");
    if (!box) {
      box = make("dialog");
      box.id = "keys-help";
      box.setAttribute("aria-labelledby", "keys-title");
      const title = make("h2", "Keys");
      title.id = "keys-title";
      const list = make("dl", "", "kv");
      for (const [key, words] of [
        ["A", "go to the reason for approving"],
        ["D", "go to the reason for denying"],
        ["J, K", "next, previous"],
        ["Enter", "open"],
        ["X", "select a row"],
        ["Esc", "leave a field; back to the queue"],
        ["G then H, A, O, C", "holds, activity, operations, controls"],
        ["?", "this list"],
      ])
        list.append(make("dt", key), make("dd", words));
      const line = make("p");
      const tick = make("input");
      tick.type = "checkbox";
      tick.id = "keys-on";
      tick.checked = !off();
      tick.addEventListener("change", () => {
        try {
          localStorage.setItem(KEYS, tick.checked ? "on" : "off");
        } catch (_) {
          /* then they are on again with the next page */
        }
      });
      const label = make("label", " Use single keys");
      label.htmlFor = "keys-on";
      line.append(tick, label);
      const note = make("p", "No key ever approves or denies: they only move.", "hint");
      const close = make("button", "Close", "button");
      close.type = "button";
      close.addEventListener("click", () => box.close());
      box.append(title, list, line, note, close);
      document.body.append(box);
    }
    box.showModal();
  };
  const step = (way) => {
    const link = document.querySelector(way > 0 ? ".crumbs a[rel=next]" : ".crumbs a[rel=prev]");
    if (link) return void link.click();
    const links = all(document, "#rows tr[id] th a");
    if (!links.length) return;
    const here = links.findIndex((one) => one.closest("tr").contains(document.activeElement));
    const next = here < 0 ? (way > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, here + way));
    links[next].focus();
  };
  let going = 0;
  const PLACES = { h: "/", a: "/activity", o: "/operations", c: "/controls" };
  const keys = {
    a: () => at("ok-reason")?.focus(),
    d: () => at("no-reason")?.focus(),
    j: () => step(1),
    k: () => step(-1),
    x: () => document.activeElement.closest?.("tr")?.querySelector(".pick")?.click(),
    g: () => (going = Date.now()),
    "?": help,
  };
  addEventListener("keydown", (event) => {
    const field = event.target.closest?.("input, textarea, select, dialog");
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.key === "Escape") {
      if (field && field.tagName !== "DIALOG") event.target.blur();
      else if (!field && document.querySelector(".hold, [data-op]")) location.assign("/");
      return;
    }
    if (off() && event.key !== "?") return;
    if (field && !(field.type === "checkbox" && event.key !== " ")) return;
    if (Date.now() - going < 1500 && PLACES[event.key]) {
      location.assign(PLACES[event.key]);
      return;
    }
    const move = keys[event.key];
    if (move && !event.repeat) {
      move();
      event.preventDefault();
    } else if (move && "jk".includes(event.key)) move();
  });
  for (const line of all(document, ".keys")) line.hidden = false;
  at("keys-open")?.addEventListener("click", help);

  // ---------- a form is sent once ----------
  for (const form of all(document, "form[method=post]")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "1";
    });
  }
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });

  // ---------- the session ends ----------
  const ends = Date.parse(document.body.dataset.ends || "");
  const warn = () => {
    const left = ends - now();
    if (at("ends") || left > 300000) return;
    const bar = make("aside", "", "notice notice-ends");
    bar.id = "ends";
    bar.setAttribute("aria-label", "Your session");
    const line = make("p");
    line.setAttribute("role", "status");
    const link = make("a", "Sign in again");
    link.href = "/sign-in?next=" + encodeURIComponent(location.pathname + location.search);
    line.append(status("status-soon", "soon", left > 0 ? "Your session ends in " + span(left) + "." : "Your session has ended."), link);
    bar.append(line);
    document.querySelector(".bar")?.after(bar);
  };

  tick();
  setInterval(tick, 1000);
  if (!Number.isNaN(ends)) {
    warn();
    setInterval(warn, 10000);
  }
  if (live) follow();
})();
