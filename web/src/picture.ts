// picture draws a part of the page as a PNG: a copy with its styles written out, as an
// image of SVG. Canvases become images in it.
export async function picture(node: HTMLElement): Promise<Blob> {
  const { width, height } = node.getBoundingClientRect()
  const copy = node.cloneNode(true) as HTMLElement
  const from = [node, ...node.querySelectorAll<HTMLElement>('*')]
  const to = [copy, ...copy.querySelectorAll<HTMLElement>('*')]
  from.forEach((f, i) => {
    const t = to[i]!
    const style = getComputedStyle(f)
    let text = ''
    for (const name of style) if (!name.startsWith('--')) text += `${name}:${style.getPropertyValue(name)};`
    if (f instanceof HTMLCanvasElement) {
      const img = document.createElement('img')
      img.src = f.toDataURL()
      img.style.cssText = text
      t.replaceWith(img)
    } else t.style.cssText = text
  })
  copy.style.margin = '0'
  copy.setAttribute('xmlns', 'http://www.w3.org/1999/xhtml')
  const body = new XMLSerializer().serializeToString(copy)
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><foreignObject width="100%" height="100%">${body}</foreignObject></svg>`
  const image = new Image()
  image.src = 'data:image/svg+xml;charset=utf-8,' + encodeURIComponent(svg)
  await image.decode()
  const scale = 2
  const canvas = document.createElement('canvas')
  canvas.width = width * scale
  canvas.height = height * scale
  const c = canvas.getContext('2d')!
  c.scale(scale, scale)
  c.fillStyle = getComputedStyle(document.body).backgroundColor
  c.fillRect(0, 0, width, height)
  c.drawImage(image, 0, 0)
  return new Promise((done, fail) => canvas.toBlob((b) => (b ? done(b) : fail(new Error('the picture could not be drawn'))), 'image/png'))
}

export function download(name: string, data: Blob | string, type = 'text/csv;charset=utf-8') {
  const a = document.createElement('a')
  a.href = URL.createObjectURL(typeof data === 'string' ? new Blob([data], { type }) : data)
  a.download = name
  a.click()
  setTimeout(() => URL.revokeObjectURL(a.href), 10_000)
}
