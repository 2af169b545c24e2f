// A shop of one page that tells a Spoor server what its visitors do: page views of its own routes,
// products, a cart, an experiment, logins and consent. README.md says how to run it.
const settings = new URLSearchParams(location.search);
const host = settings.get("spoor") || "http://127.0.0.1:7480";

spoor.init({
  host,
  writeKey: settings.get("key") || undefined,
  consent: { mode: "hold" }, // Nothing is stored or sent before the visitor agrees.
  pageViews: true,
  autocapture: true, // links to other sites, forms, data-track
  app: { name: "shop", version: "1.0" },
  experiments: { button: [{ name: "control", weight: 1 }, { name: "warm", weight: 1 }] },
  onDead: (dead) => console.warn("refused", dead.code, dead.message),
});

const products = [
  { id: "desk", name: "Desk lamp", price: 39.9 },
  { id: "lantern", name: "Lantern", price: 24.5 },
  { id: "candle", name: "Candle", price: 6.0 },
  { id: "torch", name: "Torch", price: 18.9 },
];
const cart = [];
const $ = (selector) => document.querySelector(selector);
const money = (n) => n.toFixed(2);

/** Makes an element with attributes and children; texts are texts, never HTML. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    name === "onclick" ? element.addEventListener("click", value) : element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const pages = {
  "/"() {
    document.title = "Lamps";
    const cards = products.map((p) =>
      make("a", { class: "card", href: `/product/${p.id}` }, make("span", { class: `bulb ${p.id}` }), make("b", {}, p.name), make("div", { class: "price" }, money(p.price))),
    );
    return make("div", { class: "shelf" }, ...cards);
  },
  "/cart"() {
    document.title = "Cart";
    const total = cart.reduce((sum, p) => sum + p.price, 0);
    if (!cart.length) {
      return make("p", {}, "The cart is empty.");
    }
    const lines = cart.map((p) => make("li", {}, make("span", {}, p.name), make("span", {}, money(p.price))));
    return make("div", {}, make("ul", { class: "cart" }, ...lines), make("button", { class: "buy", id: "buy", onclick: () => buy(total) }, `Buy for ${money(total)}`));
  },
};

function product(id) {
  const p = products.find((one) => one.id === id) || products[0];
  document.title = p.name;
  spoor.track("product_viewed", { productId: p.id, price: p.price });
  const warm = spoor.variant("button") === "warm" ? "warm" : "";
  return make(
    "div",
    { class: "card product" },
    make("span", { class: `bulb ${p.id}` }),
    make("h1", {}, p.name),
    make("p", { class: "price" }, money(p.price)),
    make("button", { class: `buy ${warm}`, id: "add", onclick: () => add(p) }, "Add to cart"),
  );
}

function add(p) {
  cart.push(p);
  spoor.track("added_to_cart", { productId: p.id, price: p.price });
  $("#count").textContent = cart.length;
}

function buy(total) {
  spoor.track("purchase_completed", { price: Number(money(total)), items: cart.length });
  cart.length = 0;
  $("#count").textContent = 0;
  $("#main").replaceChildren(make("p", {}, "Thank you. Let there be light."));
}

function show() {
  const path = location.pathname;
  $("#main").replaceChildren(path.startsWith("/product/") ? product(path.slice(9)) : (pages[path] || pages["/"])());
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']");
  if (link) {
    event.preventDefault();
    history.pushState({}, "", link.getAttribute("href") + location.search);
    show();
  }
});
addEventListener("popstate", show);

$("#login").addEventListener("submit", (event) => {
  event.preventDefault();
  const user = new FormData(event.target).get("user");
  spoor.identify(user, { plan: "free" });
  $("#who").textContent = `Hello, ${user}`;
  $("#who").hidden = false;
  event.target.hidden = true;
});

$("#consent").addEventListener("click", (event) => {
  const answer = event.target.dataset.answer;
  if (answer) {
    localStorage.setItem("shop.asked", "yes");
    spoor.consent(answer === "yes");
    $("#consent").hidden = true;
  }
});
$("#withdraw").addEventListener("click", () => {
  spoor.consent(false);
  localStorage.removeItem("shop.asked");
  $("#consent").hidden = false;
});

$("#consent").hidden = localStorage.getItem("shop.asked") === "yes";
$("#host").textContent = host;
show();
