"""FastAPI and uvicorn by hand: `python run_fastapi.py MODEL FOLDER PORT [onnx]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn
from answering import load
from fastapi import FastAPI, Request

name, folder, port = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
answer = load(name, folder, onnx="onnx" in sys.argv[4:])
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    body = await request.json()
    return {"predictions": answer(body["instances"])}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
