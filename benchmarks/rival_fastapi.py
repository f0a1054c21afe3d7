"""What a team writes by hand: the same model behind FastAPI and uvicorn, in its two usual shapes.

python -m benchmarks.rival_fastapi MODEL_FILE PORT
"""

import sys
from typing import Any

import joblib
import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel

app = FastAPI()
model: Any = None


class Body(BaseModel):
    instances: list[list[float]]


@app.post("/typed")
def typed(body: Body) -> dict[str, list[int]]:
    return {"predictions": model.predict(body.instances).tolist()}


@app.post("/plain")
async def plain(request: Request) -> dict[str, list[int]]:
    body = await request.json()
    return {"predictions": model.predict(body["instances"]).tolist()}


if __name__ == "__main__":
    model = joblib.load(sys.argv[1])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
