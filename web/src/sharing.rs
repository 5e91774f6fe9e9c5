//! Work that several workers share: what one of them sends another, and what it runs for it.

use std::rc::Rc;

use loraloom::{
    Example, Method, Picture,
    error::{Error, Result},
    session::{handover::Handover, held_out::Fold},
};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::{
    engine::{Engine, Learned, tell},
    request::{AdaptRequest, Crop, Event, from_js, to_error, to_js, to_worker},
};

#[wasm_bindgen]
impl Engine {
    /// A picture as another worker takes it in with [`Engine::add_crop`].
    pub fn crop(&self, id: u32) -> std::result::Result<JsValue, JsValue> {
        let Example { name, crop: Picture { width, height, rgb }, .. } =
            self.example(id, 0).map_err(to_error)?;
        to_worker(&Crop { name, width, height, rgb })
    }

    /// Takes in a picture of another worker under the number that it has there.
    #[wasm_bindgen(js_name = addCrop)]
    pub fn add_crop(&self, id: u32, crop: JsValue) -> std::result::Result<(), JsValue> {
        let Crop { name, width, height, rgb } = from_js(crop)?;
        self.pictures.borrow_mut().insert(id, (name, Picture { width, height, rgb }));
        Ok(())
    }

    /// What a trained method says of one fold of a request's pictures, trained without it; undefined if there is no such
    /// fold, or the run was stopped.
    pub async fn fold(
        &self,
        method: String,
        index: usize,
        request: JsValue,
        on_event: js_sys::Function,
    ) -> std::result::Result<JsValue, JsValue> {
        let method = Method::from_name(&method).map_err(to_error)?;
        let AdaptRequest { train, config, .. } = from_js(request)?;
        let train = self.dataset("train", &train).map_err(to_error)?;
        let mut show = |progress| {
            tell(&on_event, &Event::Progress { progress });
            self.flow.get()
        };
        let fold = self.session().fold(method, index, &train, &config, &mut show).await;
        match fold.map_err(to_error)? {
            Some(fold) => to_js(&fold),
            None => Ok(JsValue::UNDEFINED),
        }
    }

    /// What a trained method learned, for another worker with the same model and modules.
    #[wasm_bindgen(js_name = handOver)]
    pub fn hand_over(&self, method: &str) -> std::result::Result<JsValue, JsValue> {
        let learned = self.learned(method).map_err(to_error)?;
        to_worker(&learned.adapted.hand_over().map_err(to_error)?)
    }

    /// Goes on with what another worker learned from a request.
    #[wasm_bindgen(js_name = takeOver)]
    pub fn take_over(&self, handed: JsValue, request: JsValue) -> std::result::Result<(), JsValue> {
        let handed: Handover = from_js(handed)?;
        let AdaptRequest { train, config, .. } = from_js(request)?;
        let adapted = self.session().take_over(&handed, &config).map_err(to_error)?;
        let classes = train.into_iter().map(|class| class.name).collect();
        self.keep(Learned { adapted: Rc::new(adapted), classes, config: Rc::new(config) });
        Ok(())
    }
}

/// What a function of the page promises of a method's folds.
pub(crate) async fn promised(folds: &js_sys::Function, method: Method) -> Result<Option<Vec<Fold>>> {
    let failed = |error: JsValue| {
        let name = method.name();
        let message = js_sys::Reflect::get(&error, &"message".into()).ok().and_then(|own| own.as_string());
        let message = message.unwrap_or_else(|| "its folds were not run to their end".into());
        Error::mismatch(name, Error::after_name(&message, name))
    };
    let promise = folds.call1(&JsValue::NULL, &method.name().into()).map_err(failed)?;
    let found = JsFuture::from(js_sys::Promise::resolve(&promise)).await.map_err(failed)?;
    from_js(found).map_err(failed)
}
