// Chats, kept in this browser alone. Where storage is refused, they last as long as the page.

const KEY = "ragft.chats";
const MOST = 50;
let memory = [];
let works = true;

export function load() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    memory = Array.isArray(found) ? found.filter((chat) => chat && chat.id && Array.isArray(chat.turns)) : [];
  } catch {
    works = false;
  }
  return memory;
}

// Returns whether the chats outlast the page.
export function save(chat) {
  memory = [chat, ...memory.filter((one) => one.id !== chat.id)].slice(0, MOST);
  for (let kept = memory.length; works && kept > 0; kept = Math.floor(kept / 2)) {
    try {
      localStorage.setItem(KEY, JSON.stringify(memory.slice(0, kept)));
      return true;
    } catch (error) {
      if (error.name !== "QuotaExceededError") works = false;
    }
  }
  return false;
}

export const all = () => memory;

export function forget() {
  memory = [];
  try {
    localStorage.removeItem(KEY);
  } catch {
    works = false;
  }
}
